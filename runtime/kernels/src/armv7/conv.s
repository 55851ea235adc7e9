@ Convolution: \pixels x 8 channels. Two int8 products are added in int16, which holds them exactly
@ (2 * 128 * 127 = 32512), and pairs of these sums into int32.
@
@ A d register of weights holds, of four channels, two values of k each, and meets eight values of a
@ pixel: pair i of these belongs to channel i. The three other ways to match pairs with channels are the
@ pixel's register with its pairs moved from i to i^1, i^2 and i^3, which vrev does in one instruction to
@ 16 values; Layout::shuffled has the weights in that order. So a lane of a sum has all of one channel,
@ and nothing is left to add up in the end.
@
@ q0-q3: 16 values of each pixel; q4, q5: weights of one step, channels 0-3 and 4-7; q6, q7: int16 sums;
@ q8-q15: sums, [pixels][8].

@ One step of 16 values of the pixel in \lo, \hi.
        .macro  edgepack_conv_16 lo, hi, sums0, sums1
        vmull.s8 q6, \lo, d8
        vmull.s8 q7, \lo, d10
        vmlal.s8 q6, \hi, d9
        vmlal.s8 q7, \hi, d11
        vpadal.s16 \sums0, q6
        vpadal.s16 \sums1, q7
        .endm

@ One step of 8 values.
        .macro  edgepack_conv_8 lo, sums0, sums1
        vmull.s8 q6, \lo, d8
        vmull.s8 q7, \lo, d9
        vpadal.s16 \sums0, q6
        vpadal.s16 \sums1, q7
        .endm

        .macro  edgepack_conv_step_16 pixels
        vld1.8  {d8-d11}, [r8:128]!
        edgepack_conv_16 d0, d1, q8, q9
        .if \pixels > 1
        edgepack_conv_16 d2, d3, q10, q11
        .endif
        .if \pixels > 2
        edgepack_conv_16 d4, d5, q12, q13
        edgepack_conv_16 d6, d7, q14, q15
        .endif
        .endm

        .macro  edgepack_conv_step_8 pixels
        vld1.8  {d8-d9}, [r8:128]!
        edgepack_conv_8 d0, q8, q9
        .if \pixels > 1
        edgepack_conv_8 d2, q10, q11
        .endif
        .if \pixels > 2
        edgepack_conv_8 d4, q12, q13
        edgepack_conv_8 d6, q14, q15
        .endif
        .endm

@ Moves the pairs of every pixel by \how: vrev32.16 from i to i^1, vrev64.16 from i to i^3.
        .macro  edgepack_conv_shuffle pixels, how
        \how    q0, q0
        .if \pixels > 1
        \how    q1, q1
        .endif
        .if \pixels > 2
        \how    q2, q2
        \how    q3, q3
        .endif
        .endm

@ Eight channels of a pixel from f32 sums to int16 in q6.
        .macro  edgepack_conv_requantize sums0, sums1
        vcvt.f32.s32 \sums0, \sums0
        vcvt.f32.s32 \sums1, \sums1
        vmul.f32 \sums0, \sums0, q0
        vmul.f32 \sums1, \sums1, q1
        edgepack_round \sums0, d12
        edgepack_round \sums1, d13
        .endm

@ void name(const struct Sweep *): \pixels x 8 * panels channels.
@ r1-r4: values of the pixels; r5: pointers of the tap; r6: 4 * taps left; r7: values left; r8: weights;
@ r9: 4 * taps; r10: out; r11: panels left; r12: the panel; lr: values of a tap less 16.
        .macro  edgepack_conv name, pixels
        edgepack_function \name
        push    {r4-r11, lr}
        vpush   {d8-d15}
        ldr     r9, [r0, #4]
        ldr     lr, [r0, #8]
        ldr     r8, [r0, #12]
        ldr     r11, [r0, #16]
        ldr     r10, [r0, #20]
        lsl     r9, r9, #2
        sub     lr, lr, #16
1:      ldr     r5, [r0]
        mov     r6, r9
        mov     r12, r8
        vld1.32 {d16-d19}, [r8:128]     @ biases; multipliers lie behind them
        add     r8, r8, #64
        .if \pixels > 1
        vmov    q10, q8
        vmov    q11, q9
        .endif
        .if \pixels > 2
        vmov    q12, q8
        vmov    q13, q9
        vmov    q14, q8
        vmov    q15, q9
        .endif
2:
        .if \pixels > 2
        add     r4, r5, r9, lsl #1
        ldr     r3, [r4]
        ldr     r4, [r4, r9]
        .endif
        .if \pixels > 1
        ldr     r2, [r5, r9]
        .endif
        ldr     r1, [r5], #4
        movs    r7, lr
        bmi     4f
3:      vld1.8  {d0-d1}, [r1]!
        .if \pixels > 1
        vld1.8  {d2-d3}, [r2]!
        .endif
        .if \pixels > 2
        vld1.8  {d4-d5}, [r3]!
        vld1.8  {d6-d7}, [r4]!
        .endif
        edgepack_conv_step_16 \pixels
        edgepack_conv_shuffle \pixels, vrev32.16
        edgepack_conv_step_16 \pixels
        edgepack_conv_shuffle \pixels, vrev64.16
        edgepack_conv_step_16 \pixels
        edgepack_conv_shuffle \pixels, vrev32.16
        edgepack_conv_step_16 \pixels
        subs    r7, r7, #16
        bpl     3b
4:      tst     r7, #8                  @ -16 or -8
        beq     5f
        vld1.8  {d0}, [r1]
        .if \pixels > 1
        vld1.8  {d2}, [r2]
        .endif
        .if \pixels > 2
        vld1.8  {d4}, [r3]
        vld1.8  {d6}, [r4]
        .endif
        edgepack_conv_step_8 \pixels
        edgepack_conv_shuffle \pixels, vrev32.16
        edgepack_conv_step_8 \pixels
        edgepack_conv_shuffle \pixels, vrev64.16
        edgepack_conv_step_8 \pixels
        edgepack_conv_shuffle \pixels, vrev32.16
        edgepack_conv_step_8 \pixels
5:      subs    r6, r6, #4
        bne     2b
        ldr     r7, [r0, #28]
        cmp     r7, #0
        bne     6f
        add     r12, r12, #32
        vld1.32 {d0-d3}, [r12:128]
        ldr     r7, [r0, #32]
        ldr     r1, [r0, #24]
        vldmia  r7, {d4-d11}            @ q2, q3: see edgepack_round; q4, q5: bounds
        mov     r7, r10
        add     r10, r10, #8
        edgepack_conv_requantize q8, q9
        vqmovn.s16 d16, q6
        .if \pixels == 1
        vmax.s8 d16, d16, d8
        vmin.s8 d16, d16, d10
        vst1.8  {d16}, [r7]
        .else
        edgepack_conv_requantize q10, q11
        vqmovn.s16 d17, q6
        vmax.s8 q8, q8, q4
        vmin.s8 q8, q8, q5
        vst1.8  {d16}, [r7], r1
        vst1.8  {d17}, [r7], r1
        .endif
        .if \pixels > 2
        edgepack_conv_requantize q12, q13
        vqmovn.s16 d18, q6
        edgepack_conv_requantize q14, q15
        vqmovn.s16 d19, q6
        vmax.s8 q9, q9, q4
        vmin.s8 q9, q9, q5
        vst1.8  {d18}, [r7], r1
        vst1.8  {d19}, [r7]
        .endif
        subs    r11, r11, #1
        bne     1b
        vpop    {d8-d15}
        pop     {r4-r11, pc}
6:      vstmia  r7!, {d16-d19}          @ sums of one panel
        .if \pixels > 1
        vstmia  r7!, {d20-d23}
        .endif
        .if \pixels > 2
        vstmia  r7, {d24-d31}
        .endif
        vpop    {d8-d15}
        pop     {r4-r11, pc}
        .size   \name, . - \name
        .endm

        edgepack_conv edgepack_neon32_conv_4x8, 4
        edgepack_conv edgepack_neon32_conv_2x8, 2
        edgepack_conv edgepack_neon32_conv_1x8, 1
