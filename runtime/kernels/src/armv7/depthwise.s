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
