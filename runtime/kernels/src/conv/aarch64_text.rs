//! Pieces of assembly that several AArch64 kernels are put together from: loops over a row's values, one
//! instruction for many registers, and the ends of a tile, where sums become bytes.

/// A loop of the products of 16 values of each row.
#[rustfmt::skip]
macro_rules! by_16 {
    ($sixteen:expr) => {
        concat!(
            "subs {n}, {elems}, #16\n",
            "b.lt 24f\n",
            "23:\n",
            $sixteen,
            "subs {n}, {n}, #16\n",
            "b.ge 23b\n",
            "24:\n",
        )
    };
}

/// The same, two after one another: for the groups that most of the panels are in.
#[rustfmt::skip]
macro_rules! by_32 {
    ($sixteen:expr) => {
        concat!(
            "subs {n}, {elems}, #32\n",
            "b.lt 34f\n",
            "23:\n",
            $sixteen,
            $sixteen,
            "subs {n}, {n}, #32\n",
            "b.ge 23b\n",
            "34:\n",
            "tbz {elems}, #4, 24f\n",
            $sixteen,
            "24:\n",
        )
    };
}

/// `$op` of each register to itself: `unary!("scvtf", ".4s": 0 1)`.
#[rustfmt::skip]
macro_rules! unary {
    ($op:literal, $shape:literal: $($r:literal)*) => {
        concat!($($op, " v", $r, $shape, ", v", $r, $shape, "\n",)*)
    };
}

/// `$op` of each register and `$with`, to itself.
#[rustfmt::skip]
macro_rules! binary {
    ($op:literal, $shape:literal, $with:literal: $($r:literal)*) => {
        concat!($($op, " v", $r, $shape, ", v", $r, $shape, ", v", $with, $shape, "\n",)*)
    };
}

/// Each quadruple of registers of scaled sums, to 16 bytes in its first register, as [`Bounds`] says; what is added
/// to them comes first.
#[rustfmt::skip]
macro_rules! narrow {
    ($([$a:literal $b:literal $c:literal $d:literal])*) => {
        concat!(
            "tbnz {flags}, #2, 35f\n",
            "36:\n",
            "tbnz {flags}, #0, 31f\n",
            "30:\n",
            "ldr q30, [{bounds}]\n",
            $(binary!("fadd", ".4s", 30: $a $b $c $d),)*
            $("uzp1 v", $a, ".8h, v", $a, ".8h, v", $b, ".8h\n", "uzp1 v", $c, ".8h, v", $c, ".8h, v", $d, ".8h\n",)*
            "tbnz {flags}, #1, 33f\n",
            $("sqxtn v", $a, ".8b, v", $a, ".8h\n", "sqxtn2 v", $a, ".16b, v", $c, ".8h\n",)*
            "32:\n",
        )
    };
}

/// What `narrow` jumps to: to clamp sums that may not fit, and to adjust results.
#[rustfmt::skip]
macro_rules! narrow_aside {
    ($([$a:literal $b:literal $c:literal $d:literal])*) => {
        concat!(
            "31:\n",
            "ldp q30, q31, [{bounds}, #16]\n",
            $(binary!("fmax", ".4s", 30: $a $b $c $d), binary!("fmin", ".4s", 31: $a $b $c $d),)*
            "b 30b\n",
            "33:\n",
            "ldp q29, q30, [{bounds}, #48]\n", "ldr q31, [{bounds}, #80]\n",
            $(binary!("add", ".8h", 29: $a $c),)*
            $("sqxtn v", $a, ".8b, v", $a, ".8h\n", "sqxtn2 v", $a, ".16b, v", $c, ".8h\n",)*
            $(binary!("smax", ".16b", 30: $a), binary!("smin", ".16b", 31: $a),)*
            "b 32b\n",
        )
    };
}

/// What `narrow` jumps to first where there is a residual, given what adds it: `{r0}` is from a pixel's results to what
/// is added to them, register 24 the multiplier, 28 to 31 the places. Registers 25 to 27 are free.
#[rustfmt::skip]
macro_rules! residual_aside {
    ($add:expr) => {
        concat!(
            "35:\n",
            "ldr q24, [{bounds}, #112]\n",
            "add {r0}, {bounds}, #128\n",
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{r0}], #64\n",
            "ldr {r0}, [{r0}]\n",
            $add,
            "b 36b\n",
        )
    };
}

/// Adds 16 residuals of a pixel, or eight, to scaled sums of four channels each.
#[rustfmt::skip]
macro_rules! add_residual {
    ($pixel:literal: $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ldr q25, [{", $pixel, "}, {r0}]\n",
            add_residual!(two $a 28 $b 29), add_residual!(two $c 30 $d 31),
        )
    };
    ($pixel:literal: $a:literal $b:literal) => {
        concat!("ldr d25, [{", $pixel, "}, {r0}]\n", add_residual!(two $a 28 $b 29))
    };
    (two $a:literal $x:literal $b:literal $y:literal) => {
        concat!(
            "tbl v26.16b, {{v25.16b}}, v", $x, ".16b\n", "tbl v27.16b, {{v25.16b}}, v", $y, ".16b\n",
            "scvtf v26.4s, v26.4s, #24\n", "scvtf v27.4s, v27.4s, #24\n",
            "fmla v", $a, ".4s, v26.4s, v24.4s\n", "fmla v", $b, ".4s, v27.4s, v24.4s\n",
        )
    };
}
