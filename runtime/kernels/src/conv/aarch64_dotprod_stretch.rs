//! The assembly of [`depthwise`](super::aarch64_dotprod_depthwise) by the AArch64 dot product: all pixels of a
//! stretch of a line, or of two.

use core::arch::aarch64::vld1q_s8;
use core::arch::asm;

use super::aarch64_dotprod_depthwise::{Columns, Stretch, Walk};

/// Interleaves the next column of 3 rows, or of 4, of which 5 × 5 has one more, into four registers. Registers 24
/// to 31 are used; the fourth tap of 3 repeats the third, and its weights are zero.
#[rustfmt::skip]
macro_rules! fetch {
    (pair, $column:tt) => { fetch!(5, $column) };
    (3, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "ld1 {{v28.16b}}, [{r0}], {s0}\n",
            "ld1 {{v29.16b}}, [{r1}], {s1}\n",
            "ld1 {{v30.16b}}, [{r2}], {s2}\n",
            "zip1 v24.16b, v28.16b, v29.16b\n",
            "zip2 v25.16b, v28.16b, v29.16b\n",
            "zip1 v26.16b, v30.16b, v30.16b\n",
            "zip2 v27.16b, v30.16b, v30.16b\n",
            words!([$a $b $c $d], 24 25 26 27),
        )
    };
    (5, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "ld1 {{v24.16b}}, [{r0}], {s0}\n",
            "ld1 {{v25.16b}}, [{r1}], {s1}\n",
            "ld1 {{v26.16b}}, [{r2}], {s2}\n",
            "ld1 {{v27.16b}}, [{r3}], {s3}\n",
            "zip1 v28.16b, v24.16b, v25.16b\n",
            "zip2 v29.16b, v24.16b, v25.16b\n",
            "zip1 v30.16b, v26.16b, v27.16b\n",
            "zip2 v31.16b, v26.16b, v27.16b\n",
            words!([$a $b $c $d], 28 29 30 31),
        )
    };
}

/// Interleaves pairs of taps.
#[rustfmt::skip]
macro_rules! words {
    ([$a:literal $b:literal $c:literal $d:literal], $e:literal $f:literal $g:literal $h:literal) => {
        concat!(
            "zip1 v", $a, ".8h, v", $e, ".8h, v", $g, ".8h\n",
            "zip2 v", $b, ".8h, v", $e, ".8h, v", $g, ".8h\n",
            "zip1 v", $c, ".8h, v", $f, ".8h, v", $h, ".8h\n",
            "zip2 v", $d, ".8h, v", $f, ".8h, v", $h, ".8h\n",
        )
    };
}

/// A column that the first pixel begins with: of zero points, as long as there are such.
#[rustfmt::skip]
macro_rules! begin {
    ($k:tt, $($column:tt)*) => { concat!($(begin!(one $k, $column),)*) };
    (one $k:tt, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "cbz {left}, 44f\n",
            "ld1 {{v", $a, ".16b, v", $b, ".16b, v", $c, ".16b, v", $d, ".16b}}, [{zero}]\n",
            "sub {left}, {left}, #1\n",
            "b 45f\n",
            "44:\n",
            fetch!($k, [$a $b $c $d]),
            "45:\n",
        )
    };
}

/// Adds the products of a column with weights to the sums.
#[rustfmt::skip]
macro_rules! multiply {
    ([$($sum:literal)*], [$a:literal $b:literal $c:literal $d:literal], $($w:literal)*) => {
        multiply!(each $($sum $w)*: $a $b $c $d)
    };
    (each $s0:literal $w0:literal $s1:literal $w1:literal $s2:literal $w2:literal $s3:literal $w3:literal:
     $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "sdot v", $s0, ".4s, v", $a, ".16b, v", $w0, ".16b\n",
            "sdot v", $s1, ".4s, v", $b, ".16b, v", $w1, ".16b\n",
            "sdot v", $s2, ".4s, v", $c, ".16b, v", $w2, ".16b\n",
            "sdot v", $s3, ".4s, v", $d, ".16b, v", $w3, ".16b\n",
        )
    };
}

/// The sums of a pixel, from its columns; those of a pixel in the line below.
#[rustfmt::skip]
macro_rules! sums {
    (below, $($column:tt)*) => {
        concat!(
            "ld1 {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{bias}]\n",
            $(
                "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{taps}], #64\n",
                multiply!([24 25 26 27], $column, 28 29 30 31),
            )*
            "sub {taps}, {taps}, #192\n",
        )
    };
    (pair, $s:tt, $($column:tt)*) => { sums!(3, $s, $($column)*) };
    (3, $s:tt, $first:tt $second:tt $third:tt) => {
        concat!(
            "ld1 {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{bias}]\n",
            multiply!([24 25 26 27], $first, 12 13 14 15),
            multiply!([24 25 26 27], $second, 16 17 18 19),
            multiply!([24 25 26 27], $third, 20 21 22 23),
        )
    };
    (5, $s:tt, $($column:tt)*) => {
        concat!(
            "ld1 {{v20.4s, v21.4s, v22.4s, v23.4s}}, [{bias}]\n",
            $(
                "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{taps}], #64\n",
                multiply!([20 21 22 23], $column, 24 25 26 27),
            )*
            "sub {taps}, {taps}, #320\n",
            "bic {quad}, {fifth}, #63\n",
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{quad}], #64\n",
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{places}], #64\n",
            multiply!([20 21 22 23], [28 29 30 31], 24 25 26 27),
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{quad}]\n",
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{places}], #64\n",
            multiply!([20 21 22 23], [28 29 30 31], 24 25 26 27),
            // 16 bytes for each column.
            "add {fifth}, {fifth}, #(16 * ", $s, ")\n",
            "bic {places}, {places}, #(512 / ", $s, ")\n",
        )
    };
}

/// Requantizes and stores the sums of a pixel, as [`Bounds`](crate::aarch64_rounding::Bounds) says.
#[rustfmt::skip]
macro_rules! complete {
    (5, $out:literal [$adjust:literal $back:literal]) => {
        complete!([20 21 22 23], [24 25 26 27], $out $adjust $back)
    };
    ($k:tt, $out:literal [$adjust:literal $back:literal]) => {
        complete!([24 25 26 27], [28 29 30 31], $out $adjust $back)
    };
    ([$a:literal $b:literal $c:literal $d:literal], [$e:literal $f:literal $g:literal $h:literal],
     $out:literal $adjust:literal $back:literal) => {
        concat!(
            "ld1 {{v", $e, ".4s, v", $f, ".4s, v", $g, ".4s, v", $h, ".4s}}, [{multiplier}]\n",
            unary!("scvtf", ".4s": $a $b $c $d),
            binary!("fmul", ".4s", $e: $a), binary!("fmul", ".4s", $f: $b),
            binary!("fmul", ".4s", $g: $c), binary!("fmul", ".4s", $h: $d),
            "ldr q", $e, ", [{bounds}]\n",
            binary!("fadd", ".4s", $e: $a $b $c $d),
            "uzp1 v", $a, ".8h, v", $a, ".8h, v", $b, ".8h\n",
            "uzp1 v", $c, ".8h, v", $c, ".8h, v", $d, ".8h\n",
            "tbnz {flags}, #1, ", $adjust, "f\n",
            "sqxtn v", $a, ".8b, v", $a, ".8h\n",
            "sqxtn2 v", $a, ".16b, v", $c, ".8h\n",
            $back, ":\n",
            "st1 {{v", $a, ".16b}}, [{", $out, "}], {channels}\n",
        )
    };
}

/// What `complete` jumps to.
#[rustfmt::skip]
macro_rules! adjust {
    (5, [$adjust:literal $back:literal]) => { adjust!([20 22], [24 25 26], $adjust $back) };
    ($k:tt, [$adjust:literal $back:literal]) => { adjust!([24 26], [28 29 30], $adjust $back) };
    ([$a:literal $c:literal], [$odd:literal $low:literal $high:literal], $adjust:literal $back:literal) => {
        concat!(
            $adjust, ":\n",
            "ldp q", $odd, ", q", $low, ", [{bounds}, #48]\n", "ldr q", $high, ", [{bounds}, #80]\n",
            binary!("add", ".8h", $odd: $a $c),
            "sqxtn v", $a, ".8b, v", $a, ".8h\n",
            "sqxtn2 v", $a, ".16b, v", $c, ".8h\n",
            binary!("smax", ".16b", $low: $a), binary!("smin", ".16b", $high: $a),
            "b ", $back, "b\n",
        )
    };
}

/// Where the pixels that have been counted end: those of which one new column is right of the image are next,
/// then the ones of which both are. Goes on at `{next}`.
#[rustfmt::skip]
macro_rules! turn_pointers {
    ($($row:ident $step:ident)*) => {
        concat!(
            "40:\n",
            "cbz {mixed}, 41f\n",
            // The next column is the last one inside, and the one behind it has zero points.
            $("sub {", stringify!($step), "}, {zero}, {", stringify!($row), "}\n",)*
            "mov {pixels}, {mixed}\n",
            "mov {mixed}, xzr\n",
            "br {next}\n",
            "41:\n",
            "cbz {beyond}, 42f\n",
            $("mov {", stringify!($row), "}, {zero}\n", "mov {", stringify!($step), "}, xzr\n",)*
            "mov {pixels}, {beyond}\n",
            "mov {beyond}, xzr\n",
            "br {next}\n",
            "42:\n",
        )
    };
}

/// The pixel in the line below, if that is computed.
#[rustfmt::skip]
macro_rules! below {
    ([], $($column:tt)*) => { "" };
    (adjust []) => { "" };
    ([$skip:literal $adjust:tt], $($column:tt)*) => {
        concat!(
            "cbz {has_below:w}, ", $skip, "f\n",
            sums!(below, $($column)*),
            complete!(pair, "below" $adjust),
            $skip, ":\n",
        )
    };
    (adjust [$skip:literal $adjust:tt]) => { adjust!(pair, $adjust) };
}

/// The pixels of a walk: turns from the label `$this` on, each a pixel that fetches columns and then has all of
/// its own, out of the loop after the last one.
#[rustfmt::skip]
macro_rules! turns {
    ($k:tt, $s:tt,
     $($this:literal $end:literal $adjust:tt $below:tt ($($new:tt)*) ($($column:tt)*))*) => {
        concat!(
            "adr {next}, 20f\n",
            "cbz {pixels}, 40f\n",
            $(
                $this, ":\n",
                $(fetch!($k, $new),)*
                sums!($k, $s, $($column)*),
                complete!($k, "out" $adjust),
                below!($below, $($column)*),
                "subs {pixels}, {pixels}, #1\n",
                "b.eq ", $end, "f\n",
            )*
            "b 20b\n",
            $(adjust!($k, $adjust),)*
            $(below!(adjust $below),)*
            turns!(ends $($this $end)*),
        )
    };
    // After a turn comes the next, and after the last one the first.
    (ends $first:literal $($labels:literal)*) => { turns!(end $first: $first $($labels)*) };
    (end $first:literal: $this:literal $end:literal $next:literal $($labels:literal)*) => {
        concat!(turns!(go $end $next), turns!(end $first: $next $($labels)*))
    };
    (end $first:literal: $this:literal $end:literal) => { turns!(go $end $first) };
    (go $end:literal $next:literal) => { concat!($end, ":\n", "adr {next}, ", $next, "b\n", "b 40f\n") };
}

/// `Stretch` of `$k` × `$k` at stride `$s`.
macro_rules! stretch {
    ($k:tt, $s:tt, $code:expr, rows $($row:ident $step:ident $ky:tt)*,
     held [$($held:tt $kx:tt $quarter:tt)*], out [$($out:tt)*],
     fifth [$($taps:ident $places:ident $fifth:ident $quad:ident)?],
     below [$($below_taps:ident $below:ident $has_below:ident)?]) => {
        impl Stretch<$k> for Columns<'_, $k, $s> {
            #[inline(always)]
            unsafe fn run(&self, walk: Walk) {
                let block = &self.0;
                // SAFETY: the caller's promise; the constants are the block's. Writes nothing but the walk's
                // outputs.
                unsafe {
                    asm!(
                        $code,
                        turn_pointers!($($row $step)*),
                        $($row = inout(reg) walk.rows[$ky] => _, $step = inout(reg) walk.steps[$ky] => _,)*
                        $(
                            $taps = inout(reg) block.taps.as_ptr() => _,
                            $places = inout(reg) block.fifth.as_ptr() => _,
                            $fifth = inout(reg) walk.fifth => _,
                            $quad = out(reg) _,
                        )?
                        $(
                            $below_taps = inout(reg) block.below.as_ptr() => _,
                            $below = inout(reg) walk.below => _,
                            $has_below = in(reg) u32::from(walk.has_below),
                        )?
                        bias = in(reg) &block.bias,
                        multiplier = in(reg) &block.multiplier,
                        bounds = in(reg) &block.bounds,
                        flags = in(reg) block.bounds.flags(),
                        out = inout(reg) walk.out => _,
                        channels = in(reg) walk.channels,
                        left = inout(reg) walk.left => _,
                        pixels = inout(reg) walk.pixels => _,
                        mixed = inout(reg) walk.mixed => _,
                        beyond = inout(reg) walk.beyond => _,
                        zero = in(reg) walk.zero,
                        next = out(reg) _,
                        $(inout($held) vld1q_s8(block.taps[$kx].as_ptr().add(16 * $quarter)) => _,)*
                        $(out($out) _,)*
                        out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                        out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                        out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                        out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                        out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                        options(nostack),
                    );
                }
            }
        }
    };
}

stretch!(3, 1,
    concat!(begin!(pair, [0 1 2 3] [4 5 6 7]), turns!(pair, 1,
        "20" "30" ["50" "60"] ["90" ["70" "80"]] ([8 9 10 11]) ([0 1 2 3] [4 5 6 7] [8 9 10 11])
        "21" "31" ["51" "61"] ["91" ["71" "81"]] ([0 1 2 3]) ([4 5 6 7] [8 9 10 11] [0 1 2 3])
        "22" "32" ["52" "62"] ["92" ["72" "82"]] ([4 5 6 7]) ([8 9 10 11] [0 1 2 3] [4 5 6 7]))),
    rows r0 s0 0 r1 s1 1 r2 s2 2 r3 s3 3,
    held ["v12" 0 0 "v13" 0 1 "v14" 0 2 "v15" 0 3 "v16" 1 0 "v17" 1 1 "v18" 1 2 "v19" 1 3 "v20" 2 0 "v21" 2 1 "v22" 2 2 "v23" 2 3],
    out [], fifth [], below [taps below has_below]);
stretch!(3, 2,
    concat!(begin!(3, [0 1 2 3]), turns!(3, 2,
        "20" "30" ["50" "60"] [] ([4 5 6 7] [8 9 10 11]) ([0 1 2 3] [4 5 6 7] [8 9 10 11])
        "21" "31" ["51" "61"] [] ([4 5 6 7] [0 1 2 3]) ([8 9 10 11] [4 5 6 7] [0 1 2 3]))),
    rows r0 s0 0 r1 s1 1 r2 s2 2,
    held ["v12" 0 0 "v13" 0 1 "v14" 0 2 "v15" 0 3 "v16" 1 0 "v17" 1 1 "v18" 1 2 "v19" 1 3 "v20" 2 0 "v21" 2 1 "v22" 2 2 "v23" 2 3],
    out [], fifth [], below []);
stretch!(5, 1,
    concat!(begin!(5, [0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]), turns!(5, 1,
        "20" "30" ["50" "60"] [] ([16 17 18 19]) ([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19])
        "21" "31" ["51" "61"] [] ([0 1 2 3]) ([4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19] [0 1 2 3])
        "22" "32" ["52" "62"] [] ([4 5 6 7]) ([8 9 10 11] [12 13 14 15] [16 17 18 19] [0 1 2 3] [4 5 6 7])
        "23" "33" ["53" "63"] [] ([8 9 10 11]) ([12 13 14 15] [16 17 18 19] [0 1 2 3] [4 5 6 7] [8 9 10 11])
        "24" "34" ["54" "64"] [] ([12 13 14 15]) ([16 17 18 19] [0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15]))),
    rows r0 s0 0 r1 s1 1 r2 s2 2 r3 s3 3,
    held [], out ["v12" "v13" "v14" "v15" "v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23"],
    fifth [taps places fifth quad], below []);
stretch!(5, 2,
    concat!(begin!(5, [0 1 2 3] [4 5 6 7] [8 9 10 11]), turns!(5, 2,
        "20" "30" ["50" "60"] [] ([12 13 14 15] [16 17 18 19]) ([0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19])
        "21" "31" ["51" "61"] [] ([0 1 2 3] [4 5 6 7]) ([8 9 10 11] [12 13 14 15] [16 17 18 19] [0 1 2 3] [4 5 6 7])
        "22" "32" ["52" "62"] [] ([8 9 10 11] [12 13 14 15]) ([16 17 18 19] [0 1 2 3] [4 5 6 7] [8 9 10 11] [12 13 14 15])
        "23" "33" ["53" "63"] [] ([16 17 18 19] [0 1 2 3]) ([4 5 6 7] [8 9 10 11] [12 13 14 15] [16 17 18 19] [0 1 2 3])
        "24" "34" ["54" "64"] [] ([4 5 6 7] [8 9 10 11]) ([12 13 14 15] [16 17 18 19] [0 1 2 3] [4 5 6 7] [8 9 10 11]))),
    rows r0 s0 0 r1 s1 1 r2 s2 2 r3 s3 3,
    held [], out ["v12" "v13" "v14" "v15" "v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23"],
    fifth [taps places fifth quad], below []);
