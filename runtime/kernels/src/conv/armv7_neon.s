@ ARMv7 Advanced SIMD: Rust's intrinsics for it are not stable. AAPCS: r4-r11 and d8-d15 are the
@ caller's. Instructions: ARM Architecture Reference Manual ARMv7-A, section A8.8.
@
@ Arithmetic here flushes subnormals to zero (section A2.7.3), which changes no int8 result: a product
@ of an int32 with a subnormal multiplier is below 2^-94, and rounds to 0 either way.

        .syntax unified
        .arch   armv7-a
        .fpu    neon
        .arm

@ Four int32 sums in \sums to integers within the range, given \multiplier; q8: lower bound, q9: upper
@ bound, q10: 1.5 * 2^23, q11: zero point less the bits of 1.5 * 2^23 (see ROUNDING_MAGIC).
        .macro  edgepack_requantize sums, multiplier
        vcvt.f32.s32 \sums, \sums
        vmul.f32 \sums, \sums, \multiplier
        vmax.f32 \sums, \sums, q8
        vmin.f32 \sums, \sums, q9
        vadd.f32 \sums, \sums, q10
        vadd.i32 \sums, \sums, q11
        .endm

@ Loads q8-q11 from four words at \from; uses r12.
        .macro  edgepack_range from
        ldr     r12, [\from]
        vdup.32 q8, r12
        ldr     r12, [\from, #4]
        vdup.32 q9, r12
        ldr     r12, [\from, #8]
        vdup.32 q10, r12
        ldr     r12, [\from, #12]
        vdup.32 q11, r12
        .endm

@ Adds x0 * w0 + x1 * w1 of one channel to the partial sums of two pixels.
        .macro  edgepack_pair w0, w1, sums0, sums1
        vmull.s8 q6, d0, \w0
        vmull.s8 q7, d2, \w0
        vmlal.s8 q6, d1, \w1
        vmlal.s8 q7, d3, \w1
        vpadal.s16 \sums0, q6
        vpadal.s16 \sums1, q7
        .endm

        .macro  edgepack_single w, sums0, sums1
        vmull.s8 q6, d0, \w
        vmull.s8 q7, d2, \w
        vpadal.s16 \sums0, q6
        vpadal.s16 \sums1, q7
        .endm

@ void edgepack_neon32_conv_2x4(const struct Tile *)
@ 2 pixels x 4 channels; q8-q11 hold 4 partial sums of each channel of pixel 0, q12-q15 of pixel 1.
        .text
        .p2align 4
        .global edgepack_neon32_conv_2x4
        .hidden edgepack_neon32_conv_2x4
        .type   edgepack_neon32_conv_2x4, %function
edgepack_neon32_conv_2x4:
        push    {r4-r10, lr}
        vpush   {d8-d15}
        ldm     r0!, {r1-r4, r8}        @ rows, taps, tap_elems, panel, sums
        add     r9, r1, r2, lsl #2      @ the rows of pixel 1
        mov     lr, r4
        add     r4, r4, #32             @ behind 4 biases and 4 multipliers: the weights
        vmov.i32 q8, #0
        vmov.i32 q9, #0
        vmov.i32 q10, #0
        vmov.i32 q11, #0
        vmov.i32 q12, #0
        vmov.i32 q13, #0
        vmov.i32 q14, #0
        vmov.i32 q15, #0
1:      ldr     r5, [r1], #4
        ldr     r6, [r9], #4
        subs    r7, r3, #16
        blo     3f
2:      vld1.8  {d0-d1}, [r5]!
        vld1.8  {d2-d3}, [r6]!
        vld1.8  {d4-d7}, [r4:128]!
        vld1.8  {d8-d11}, [r4:128]!
        edgepack_pair d4, d8, q8, q12
        edgepack_pair d5, d9, q9, q13
        edgepack_pair d6, d10, q10, q14
        edgepack_pair d7, d11, q11, q15
        subs    r7, r7, #16
        bhs     2b
3:      tst     r7, #8
        beq     4f
        vld1.8  {d0}, [r5]
        vld1.8  {d2}, [r6]
        vld1.8  {d4-d7}, [r4:128]!
        edgepack_single d4, q8, q12
        edgepack_single d5, q9, q13
        edgepack_single d6, q10, q14
        edgepack_single d7, q11, q15
4:      subs    r2, r2, #1
        bne     1b
        vpadd.i32 d0, d16, d17          @ pixel 0: q2
        vpadd.i32 d1, d18, d19
        vpadd.i32 d2, d20, d21
        vpadd.i32 d3, d22, d23
        vpadd.i32 d4, d0, d1
        vpadd.i32 d5, d2, d3
        vpadd.i32 d0, d24, d25          @ pixel 1: q3
        vpadd.i32 d1, d26, d27
        vpadd.i32 d2, d28, d29
        vpadd.i32 d3, d30, d31
        vpadd.i32 d6, d0, d1
        vpadd.i32 d7, d2, d3
        vld1.32 {d8-d11}, [lr:128]      @ q4: biases, q5: multipliers
        vadd.i32 q2, q2, q4
        vadd.i32 q3, q3, q4
        vst1.32 {d4-d7}, [r8]!
        edgepack_range r0
        edgepack_requantize q2, q5
        edgepack_requantize q3, q5
        vmovn.i32 d0, q2
        vmovn.i32 d1, q3
        vmovn.i16 d0, q0
        vst1.8  {d0}, [r8]              @ the bytes follow the sums
        vpop    {d8-d15}
        pop     {r4-r10, pc}
        .size   edgepack_neon32_conv_2x4, . - edgepack_neon32_conv_2x4

@ void edgepack_neon32_depthwise_1x8(const struct Pixel *)
@ One pixel of 8 channels: q12 and q13 are the sums.
        .p2align 4
        .global edgepack_neon32_depthwise_1x8
        .hidden edgepack_neon32_depthwise_1x8
        .type   edgepack_neon32_depthwise_1x8, %function
edgepack_neon32_depthwise_1x8:
        push    {r4-r8, lr}
        ldm     r0!, {r1-r8}            @ taps, count, weights, stride, bias, multiplier, sums, bytes
        vld1.32 {d24-d27}, [r5]
        subs    r2, r2, #2
        blo     2f
1:      ldr     r5, [r1], #4
        ldr     r12, [r1], #4
        vld1.8  {d0}, [r5]
        vld1.8  {d1}, [r12]
        vld1.8  {d2}, [r3], r4
        vld1.8  {d3}, [r3], r4
        vmull.s8 q2, d0, d2
        vmlal.s8 q2, d1, d3
        vaddw.s16 q12, q12, d4
        vaddw.s16 q13, q13, d5
        subs    r2, r2, #2
        bhs     1b
2:      tst     r2, #1
        beq     3f
        ldr     r5, [r1]
        vld1.8  {d0}, [r5]
        vld1.8  {d2}, [r3]
        vmull.s8 q2, d0, d2
        vaddw.s16 q12, q12, d4
        vaddw.s16 q13, q13, d5
3:      cmp     r7, #0
        vstmiane r7, {d24-d27}
        bne     4f
        edgepack_range r0
        vld1.32 {d0-d3}, [r6]
        edgepack_requantize q12, q0
        edgepack_requantize q13, q1
        vmovn.i32 d0, q12
        vmovn.i32 d1, q13
        vmovn.i16 d0, q0
        vst1.8  {d0}, [r8]
4:      pop     {r4-r8, pc}
        .size   edgepack_neon32_depthwise_1x8, . - edgepack_neon32_depthwise_1x8

@ void edgepack_neon32_depthwise_1x16(const struct Pixel *)
@ One pixel of 16 channels: q12-q15 are the sums.
        .p2align 4
        .global edgepack_neon32_depthwise_1x16
        .hidden edgepack_neon32_depthwise_1x16
        .type   edgepack_neon32_depthwise_1x16, %function
edgepack_neon32_depthwise_1x16:
        push    {r4-r8, lr}
        ldm     r0!, {r1-r8}            @ taps, count, weights, stride, bias, multiplier, sums, bytes
        vld1.32 {d24-d27}, [r5]!
        vld1.32 {d28-d31}, [r5]
        subs    r2, r2, #2
        blo     2f
1:      ldr     r5, [r1], #4
        ldr     r12, [r1], #4
        vld1.8  {d0-d1}, [r5]
        vld1.8  {d2-d3}, [r12]
        vld1.8  {d4-d5}, [r3], r4
        vld1.8  {d6-d7}, [r3], r4
        vmull.s8 q8, d0, d4
        vmull.s8 q9, d1, d5
        vmlal.s8 q8, d2, d6
        vmlal.s8 q9, d3, d7
        vaddw.s16 q12, q12, d16
        vaddw.s16 q13, q13, d17
        vaddw.s16 q14, q14, d18
        vaddw.s16 q15, q15, d19
        subs    r2, r2, #2
        bhs     1b
2:      tst     r2, #1
        beq     3f
        ldr     r5, [r1]
        vld1.8  {d0-d1}, [r5]
        vld1.8  {d4-d5}, [r3]
        vmull.s8 q8, d0, d4
        vmull.s8 q9, d1, d5
        vaddw.s16 q12, q12, d16
        vaddw.s16 q13, q13, d17
        vaddw.s16 q14, q14, d18
        vaddw.s16 q15, q15, d19
3:      cmp     r7, #0
        vstmiane r7, {d24-d31}
        bne     4f
        edgepack_range r0
        vld1.32 {d0-d3}, [r6]!
        vld1.32 {d4-d7}, [r6]
        edgepack_requantize q12, q0
        edgepack_requantize q13, q1
        edgepack_requantize q14, q2
        edgepack_requantize q15, q3
        vmovn.i32 d0, q12
        vmovn.i32 d1, q13
        vmovn.i32 d2, q14
        vmovn.i32 d3, q15
        vmovn.i16 d0, q0
        vmovn.i16 d1, q1
        vst1.8  {d0-d1}, [r8]
4:      pop     {r4-r8, pc}
        .size   edgepack_neon32_depthwise_1x16, . - edgepack_neon32_depthwise_1x16
