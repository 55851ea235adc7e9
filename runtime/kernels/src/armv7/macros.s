@ ARMv7 Advanced SIMD: Rust's intrinsics for it are not stable. AAPCS: r4-r11 and d8-d15 are the
@ caller's. Instructions: ARM Architecture Reference Manual ARMv7-A, section A8.8.
@
@ Arithmetic here flushes subnormals to zero (section A2.7.3), which changes no int8 result: what is
@ below 2^-126 rounds to 0 either way, and added to a number that does not, it is lost in the rounding.

        .syntax unified
        .arch   armv7-a
        .fpu    neon
        .arm
        .text

        .macro  edgepack_function name
        .p2align 4
        .global \name
        .hidden \name
        .type   \name, %function
\name:
        .endm

@ Four f32 in \values, in units of the output, to int16 in \narrow; q2: 1.5 * 2^23, q3: zero point less
@ its bits (see ROUNDING_MAGIC). Bounds wait until these are int8, since every step keeps the order: a
@ value beyond 2^22 is not rounded, but the bits of its sum with 1.5 * 2^23, read as an integer, are beyond
@ those of any value before it, the sign included, and the addition and both narrowings saturate.
        .macro  edgepack_round values, narrow
        vadd.f32 \values, \values, q2
        vqadd.s32 \values, \values, q3
        vqmovn.s32 \narrow, \values
        .endm
