@ Convolution: \pixels x 8 channels. Two int8 products are added in int16, which holds them exactly
@ (2 * 128 * 127 = 32512), and pairs of these sums into int32.
@
@ A d register of weights holds two values of k for four channels. vld4 loads eight values of a pixel as four
@ pairs, each repeated through a register of its own, so that a pair meets all channels, a lane of a sum has all
@ of one channel, and nothing is left to add up in the end.
@
@ d0-d3: pairs of a pixel; q2, q3: int16 sums; d8-d15: weights of four pairs, channels 0-3 and 4-7 of each;
@ q8-q15: sums, [pixels][8].

@ Eight values of the pixel at \row.
        .macro  edgepack_conv_8 row, sums0, sums1
        vld4.16 {d0[], d1[], d2[], d3[]}, [\row]!
        vmull.s8 q2, d0, d8
        vmull.s8 q3, d0, d9
        vmlal.s8 q2, d1, d10
        vmlal.s8 q3, d1, d11
        vpadal.s16 \sums0, q2
        vpadal.s16 \sums1, q3
        vmull.s8 q2, d2, d12
        vmull.s8 q3, d2, d13
        vmlal.s8 q2, d3, d14
        vmlal.s8 q3, d3, d15
        vpadal.s16 \sums0, q2
        vpadal.s16 \sums1, q3
        .endm

@ Four values.
        .macro  edgepack_conv_4 row, sums0, sums1
        vld2.16 {d0[], d1[]}, [\row]!
        vmull.s8 q2, d0, d8
        vmull.s8 q3, d0, d9
        vmlal.s8 q2, d1, d10
        vmlal.s8 q3, d1, d11
        vpadal.s16 \sums0, q2
        vpadal.s16 \sums1, q3
        .endm

@ Two values.
        .macro  edgepack_conv_2 row, sums0, sums1
        vld1.16 {d0[]}, [\row]
        vmull.s8 q2, d0, d8
        vmull.s8 q3, d0, d9
        vpadal.s16 \sums0, q2
        vpadal.s16 \sums1, q3
        .endm

@ \values values of every pixel.
        .macro  edgepack_conv_step values, pixels
        edgepack_conv_\values r1, q8, q9
        .if \pixels > 1
        edgepack_conv_\values r2, q10, q11
        .endif
        .if \pixels > 2
        edgepack_conv_\values r3, q12, q13
        edgepack_conv_\values r4, q14, q15
        .endif
        .endm

@ Eight channels of a pixel from sums to scaled ones, in f32.
        .macro  edgepack_conv_scale sums0, sums1
        vcvt.f32.s32 \sums0, \sums0
        vcvt.f32.s32 \sums1, \sums1
        vmul.f32 \sums0, \sums0, q0
        vmul.f32 \sums1, \sums1, q1
        .endm

@ Of every pixel.
        .macro  edgepack_conv_scale_all pixels
        edgepack_conv_scale q8, q9
        .if \pixels > 1
        edgepack_conv_scale q10, q11
        .endif
        .if \pixels > 2
        edgepack_conv_scale q12, q13
        edgepack_conv_scale q14, q15
        .endif
        .endm

@ Adds the eight residuals at r7, which goes on by r1, times q2. Their products are exact, so that it does not
@ matter that vmla rounds them.
        .macro  edgepack_conv_add sums0, sums1
        vld1.8  {d6}, [r7], r1
        vmovl.s8 q3, d6
        vmovl.s16 q4, d6
        vmovl.s16 q5, d7
        vcvt.f32.s32 q4, q4
        vcvt.f32.s32 q5, q5
        vmla.f32 \sums0, q4, q2
        vmla.f32 \sums1, q5, q2
        .endm

@ Eight channels of a pixel from scaled sums to int16 in q6.
        .macro  edgepack_conv_round sums0, sums1
        edgepack_round \sums0, d12
        edgepack_round \sums1, d13
        .endm

@ Eight channels of a pixel from sums to int16 in q6.
        .macro  edgepack_conv_requantize sums0, sums1
        edgepack_conv_scale \sums0, \sums1
        edgepack_conv_round \sums0, \sums1
        .endm

@ void name(const struct Sweep *): \pixels x 8 * panels channels.
@ r1-r4: values of the pixels; r5: pointers of the tap; r6: 4 * taps left; r7: values left; r8: weights;
@ r9: 4 * taps; r10: out; r11: panels left; r12: the panel; lr: values of a tap less 8.
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
        sub     lr, lr, #8
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
3:      vld1.8  {d8-d11}, [r8:128]!
        vld1.8  {d12-d15}, [r8:128]!
        edgepack_conv_step 8, \pixels
        subs    r7, r7, #8
        bpl     3b
4:      tst     r7, #4                  @ what is left, less 8
        beq     7f
        vld1.8  {d8-d11}, [r8:128]!
        edgepack_conv_step 4, \pixels
7:      tst     r7, #2
        beq     5f
        vld1.8  {d8-d9}, [r8:128]!
        edgepack_conv_step 2, \pixels
5:      subs    r6, r6, #4
        bne     2b
        ldr     r7, [r0, #28]
        add     r12, r12, #32
        cmp     r7, #0
        bne     6f
        vld1.32 {d0-d3}, [r12:128]
        ldr     r1, [r0, #24]
        edgepack_conv_scale_all \pixels
8:      ldr     r7, [r0, #32]
        vldmia  r7, {d4-d11}            @ q2, q3: see edgepack_round; q4, q5: bounds
        mov     r7, r10
        add     r10, r10, #8
        edgepack_conv_round q8, q9
        vqmovn.s16 d16, q6
        .if \pixels == 1
        vmax.s8 d16, d16, d8
        vmin.s8 d16, d16, d10
        vst1.8  {d16}, [r7]
        .else
        edgepack_conv_round q10, q11
        vqmovn.s16 d17, q6
        vmax.s8 q8, q8, q4
        vmin.s8 q8, q8, q5
        vst1.8  {d16}, [r7], r1
        vst1.8  {d17}, [r7], r1
        .endif
        .if \pixels > 2
        edgepack_conv_round q12, q13
        vqmovn.s16 d18, q6
        edgepack_conv_round q14, q15
        vqmovn.s16 d19, q6
        vmax.s8 q9, q9, q4
        vmin.s8 q9, q9, q5
        vst1.8  {d18}, [r7], r1
        vst1.8  {d19}, [r7]
        .endif
        add     r8, r8, #63             @ panels start at multiples of 64
        bic     r8, r8, #63
        subs    r11, r11, #1
        bne     1b
        vpop    {d8-d15}
        pop     {r4-r11, pc}
6:      ldr     r7, [r0, #36]
        cmp     r7, #0
        bne     9f
        vld1.32 {d0-d3}, [r12:128]
        ldr     r1, [r0, #24]
        edgepack_conv_scale_all \pixels
        add     r7, r0, #44
        vld1.32 {d4[], d5[]}, [r7]      @ the residual's multiplier
        ldr     r7, [r0, #40]
        add     r7, r7, r10
        edgepack_conv_add q8, q9
        .if \pixels > 1
        edgepack_conv_add q10, q11
        .endif
        .if \pixels > 2
        edgepack_conv_add q12, q13
        edgepack_conv_add q14, q15
        .endif
        b       8b
9:      vstmia  r7!, {d16-d19}          @ sums of one panel
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
