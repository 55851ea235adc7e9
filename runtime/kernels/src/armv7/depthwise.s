@ Depthwise convolution of 8 channels, from a plane that holds them and the padding, 8 bytes a pixel.
@ \pixels of a tile: 4. The products of two taps are added in int16, which holds them exactly
@ (2 * 128 * 127 = 32512), and these in int32.
@
@ d0-d8: pixels of one row of the plane; weights of one row of the kernel behind them; q6, q7: int16 sums;
@ q8-q15: sums, [4][8].

@ Two taps of one pixel.
        .macro  edgepack_taps_2 x0, w0, x1, w1, temporary, low, high, sums0, sums1
        vmull.s8 \temporary, \x0, \w0
        vmlal.s8 \temporary, \x1, \w1
        vaddw.s16 \sums0, \sums0, \low
        vaddw.s16 \sums1, \sums1, \high
        .endm

@ One tap of one pixel.
        .macro  edgepack_taps_1 x0, w0, temporary, low, high, sums0, sums1
        vmull.s8 \temporary, \x0, \w0
        vaddw.s16 \sums0, \sums0, \low
        vaddw.s16 \sums1, \sums1, \high
        .endm

@ One row of a kernel of width 3 or 5; loads at r1, weights at r4.
        .macro  edgepack_depthwise_row_3_1
        vldmia  r1, {d0-d5}
        vldmia  r4!, {d9-d11}
        edgepack_taps_2 d0, d9, d1, d10, q6, d12, d13, q8, q9
        edgepack_taps_2 d1, d9, d2, d10, q7, d14, d15, q10, q11
        edgepack_taps_2 d2, d9, d3, d10, q6, d12, d13, q12, q13
        edgepack_taps_2 d3, d9, d4, d10, q7, d14, d15, q14, q15
        edgepack_taps_1 d2, d11, q6, d12, d13, q8, q9
        edgepack_taps_1 d3, d11, q7, d14, d15, q10, q11
        edgepack_taps_1 d4, d11, q6, d12, d13, q12, q13
        edgepack_taps_1 d5, d11, q7, d14, d15, q14, q15
        .endm

        .macro  edgepack_depthwise_row_3_2
        vldmia  r1, {d0-d8}
        vldmia  r4!, {d9-d11}
        edgepack_taps_2 d0, d9, d1, d10, q6, d12, d13, q8, q9
        edgepack_taps_2 d2, d9, d3, d10, q7, d14, d15, q10, q11
        edgepack_taps_2 d4, d9, d5, d10, q6, d12, d13, q12, q13
        edgepack_taps_2 d6, d9, d7, d10, q7, d14, d15, q14, q15
        edgepack_taps_1 d2, d11, q6, d12, d13, q8, q9
        edgepack_taps_1 d4, d11, q7, d14, d15, q10, q11
        edgepack_taps_1 d6, d11, q6, d12, d13, q12, q13
        edgepack_taps_1 d8, d11, q7, d14, d15, q14, q15
        .endm

        .macro  edgepack_depthwise_row_5_1
        vldmia  r1, {d0-d7}
        vldmia  r4!, {d8-d11}
        edgepack_taps_2 d0, d8, d1, d9, q6, d12, d13, q8, q9
        edgepack_taps_2 d1, d8, d2, d9, q7, d14, d15, q10, q11
        edgepack_taps_2 d2, d8, d3, d9, q6, d12, d13, q12, q13
        edgepack_taps_2 d3, d8, d4, d9, q7, d14, d15, q14, q15
        edgepack_taps_2 d2, d10, d3, d11, q6, d12, d13, q8, q9
        edgepack_taps_2 d3, d10, d4, d11, q7, d14, d15, q10, q11
        edgepack_taps_2 d4, d10, d5, d11, q6, d12, d13, q12, q13
        edgepack_taps_2 d5, d10, d6, d11, q7, d14, d15, q14, q15
        vldmia  r4!, {d8}
        edgepack_taps_1 d4, d8, q6, d12, d13, q8, q9
        edgepack_taps_1 d5, d8, q7, d14, d15, q10, q11
        edgepack_taps_1 d6, d8, q6, d12, d13, q12, q13
        edgepack_taps_1 d7, d8, q7, d14, d15, q14, q15
        .endm

@ Two pixels at a stride of 2.
        .macro  edgepack_depthwise_pair_5_2 a0, a1, b0, b1
        edgepack_taps_2 d0, d7, d1, d8, q6, d12, d13, \a0, \a1
        edgepack_taps_2 d2, d7, d3, d8, q7, d14, d15, \b0, \b1
        edgepack_taps_2 d2, d9, d3, d10, q6, d12, d13, \a0, \a1
        edgepack_taps_2 d4, d9, d5, d10, q7, d14, d15, \b0, \b1
        edgepack_taps_1 d4, d11, q6, d12, d13, \a0, \a1
        edgepack_taps_1 d6, d11, q7, d14, d15, \b0, \b1
        .endm

        .macro  edgepack_depthwise_row_5_2
        vldmia  r1, {d0-d6}
        vldmia  r4!, {d7-d11}
        edgepack_depthwise_pair_5_2 q8, q9, q10, q11
        add     r3, r1, #32
        vldmia  r3, {d0-d6}
        edgepack_depthwise_pair_5_2 q12, q13, q14, q15
        .endm

@ One row of any kernel, tap by tap.
        .macro  edgepack_depthwise_row_any
        push    {r2, r5, r6, r7}
        ldr     r2, [r0, #48]           @ taps left
        ldr     r5, [r0, #52]           @ to the next tap
        ldr     r6, [r0, #56]           @ to the next pixel
        mov     r7, r1
4:      mov     r3, r7
        vld1.8  {d0}, [r3], r6
        vld1.8  {d1}, [r3], r6
        vld1.8  {d2}, [r3], r6
        vld1.8  {d3}, [r3]
        vldmia  r4!, {d8}
        edgepack_taps_1 d0, d8, q6, d12, d13, q8, q9
        edgepack_taps_1 d1, d8, q7, d14, d15, q10, q11
        edgepack_taps_1 d2, d8, q6, d12, d13, q12, q13
        edgepack_taps_1 d3, d8, q7, d14, d15, q14, q15
        add     r7, r7, r5
        subs    r2, r2, #1
        bne     4b
        pop     {r2, r5, r6, r7}
        .endm

@ void name(const struct Lines *): at least 4 pixels of some lines. The last tile of a line begins early
@ enough to be whole.
@ r1: row of the plane; r2: rows left; r4: weights; r5: the tile's first pixel in the plane; r6: its output;
@ r7: to the next pixel there; r8: pixels left; r9: constants; r10: to the next row; r11, r12: r5 and r6 at
@ the start of the line; lr: lines left.
        .macro  edgepack_depthwise name, row
        edgepack_function \name
        push    {r4-r11, lr}
        vpush   {d8-d15}
        ldr     r11, [r0]
        ldr     r10, [r0, #8]
        ldr     r9, [r0, #20]
        ldr     r12, [r0, #24]
        ldr     r7, [r0, #28]
        ldr     lr, [r0, #40]
1:      ldr     r8, [r0, #36]
        mov     r5, r11
        mov     r6, r12
2:      vldmia  r9, {d16-d31}           @ biases, four times
        ldr     r4, [r0, #16]
        ldr     r2, [r0, #12]
        mov     r1, r5
3:      \row
        add     r1, r1, r10
        subs    r2, r2, #1
        bne     3b
        ldr     r3, [r0, #44]
        cmp     r3, #0
        bne     6f
        add     r3, r9, #128
        vldmia  r3, {d0-d11}            @ q0, q1: multipliers; q2-q5: Range
        edgepack_conv_requantize q8, q9
        vqmovn.s16 d16, q6
        edgepack_conv_requantize q10, q11
        vqmovn.s16 d17, q6
        edgepack_conv_requantize q12, q13
        vqmovn.s16 d18, q6
        edgepack_conv_requantize q14, q15
        vqmovn.s16 d19, q6
        vmax.s8 q8, q8, q4
        vmax.s8 q9, q9, q4
        vmin.s8 q8, q8, q5
        vmin.s8 q9, q9, q5
        vst1.8  {d16}, [r6], r7
        vst1.8  {d17}, [r6], r7
        vst1.8  {d18}, [r6], r7
        vst1.8  {d19}, [r6], r7
        subs    r8, r8, #4
        ble     5f
        ldr     r2, [r0, #56]
        add     r5, r5, r2, lsl #2
        rsbs    r3, r8, #4
        ble     2b
        mls     r5, r3, r2, r5
        mls     r6, r3, r7, r6
        b       2b
5:      ldr     r2, [r0, #4]
        ldr     r3, [r0, #32]
        add     r11, r11, r2
        add     r12, r12, r3
        subs    lr, lr, #1
        bne     1b
        vpop    {d8-d15}
        pop     {r4-r11, pc}
6:      vstmia  r3, {d16-d31}           @ sums of one tile
        vpop    {d8-d15}
        pop     {r4-r11, pc}
        .size   \name, . - \name
        .endm

        edgepack_depthwise edgepack_neon32_depthwise_3_1, edgepack_depthwise_row_3_1
        edgepack_depthwise edgepack_neon32_depthwise_3_2, edgepack_depthwise_row_3_2
        edgepack_depthwise edgepack_neon32_depthwise_5_1, edgepack_depthwise_row_5_1
        edgepack_depthwise edgepack_neon32_depthwise_5_2, edgepack_depthwise_row_5_2
        edgepack_depthwise edgepack_neon32_depthwise_any, edgepack_depthwise_row_any

@ void edgepack_neon32_plane(const struct Copy *): lines of 8 channels to a plane.
@ r1: from; r2: to the next pixel; r3: to; r4: pixels left; r5: pixels; r6: from of the line; r7: to the next
@ line; r8: to of the line; r9: to the next line; r10: lines left.
        edgepack_function edgepack_neon32_plane
        push    {r4-r10, lr}
        ldm     r0, {r2, r5-r10}
1:      mov     r1, r6
        mov     r3, r8
        subs    r4, r5, #4
        blo     3f
2:      vld1.8  {d0}, [r1], r2
        vld1.8  {d1}, [r1], r2
        vld1.8  {d2}, [r1], r2
        vld1.8  {d3}, [r1], r2
        vstmia  r3!, {d0-d3}
        subs    r4, r4, #4
        bhs     2b
3:      adds    r4, r4, #4
        beq     5f
4:      vld1.8  {d0}, [r1], r2
        vstmia  r3!, {d0}
        subs    r4, r4, #1
        bne     4b
5:      add     r6, r6, r7
        add     r8, r8, r9
        subs    r10, r10, #1
        bne     1b
        pop     {r4-r10, pc}
        .size   edgepack_neon32_plane, . - edgepack_neon32_plane
