@ Winograd's method, F(4 x 4, 3 x 3): see conv/winograd.rs for the matrices.

@ Weights of eight input channels by eight output channels, nine taps of them, from pairs of input channels.
@ void (const uint8_t *from, size_t bytes from a tap to the next, int8_t to[9][8][8])
        edgepack_function edgepack_neon32_winograd_unpair
        mov     r3, #9
1:      mov     r12, r0
        add     r0, r0, r1
        vld2.8  {d0, d1}, [r12]!
        vld2.8  {d2, d3}, [r12]!
        vld2.8  {d4, d5}, [r12]!
        vld2.8  {d6, d7}, [r12]
        vst1.8  {d0-d3}, [r2]!
        vst1.8  {d4-d7}, [r2]!
        subs    r3, r3, #1
        bne     1b
        bx      lr
        .size   edgepack_neon32_winograd_unpair, . - edgepack_neon32_winograd_unpair

@ G times the three values in \a, \b, \c, to [r1], r3 apart.
        .macro  edgepack_winograd_weights_line a, b, c
        vst1.16 {\a}, [r1], r3
        vadd.i16 q14, \a, \c
        vadd.i16 q15, q14, \b
        vst1.16 {q15}, [r1], r3
        vsub.i16 q14, q14, \b
        vst1.16 {q14}, [r1], r3
        vshl.i16 q15, \c, #2
        vadd.i16 q15, q15, \a
        vadd.i16 \b, \b, \b
        vadd.i16 q14, q15, \b
        vst1.16 {q14}, [r1], r3
        vsub.i16 q15, q15, \b
        vst1.16 {q15}, [r1], r3
        vst1.16 {\c}, [r1], r3
        .endm

@ Rows 1 and 2, 3 and 4 of G times a column of weights.
        .macro  edgepack_winograd_weights_12 sum, difference, a, b, c
        vaddl.s8 \sum, \a, \c
        vsubw.s8 \difference, \sum, \b
        vaddw.s8 \sum, \sum, \b
        .endm

        .macro  edgepack_winograd_weights_34 sum, difference, a, b, c
        vshll.s8 \sum, \c, #2
        vaddw.s8 \sum, \sum, \a
        vshll.s8 q14, \b, #1
        vsub.i16 \difference, \sum, q14
        vadd.i16 \sum, \sum, q14
        .endm

@ G w transposed G, of eight input channels by eight output channels.
@ void (const int8_t taps[9][8][8], int16_t *to, size_t bytes from a point to the next)
        edgepack_function edgepack_neon32_winograd_weights
        push    {r4-r6, lr}
        vpush   {d8}
        mov     r3, r2
        mov     r2, #64
        mov     r4, #8
        mov     r6, r1
1:      mov     r5, r0
        mov     r1, r6
        vld1.8  {d0}, [r5], r2
        vld1.8  {d1}, [r5], r2
        vld1.8  {d2}, [r5], r2
        vld1.8  {d3}, [r5], r2
        vld1.8  {d4}, [r5], r2
        vld1.8  {d5}, [r5], r2
        vld1.8  {d6}, [r5], r2
        vld1.8  {d7}, [r5], r2
        vld1.8  {d8}, [r5]
        vmovl.s8 q8, d0
        vmovl.s8 q9, d1
        vmovl.s8 q10, d2
        edgepack_winograd_weights_line q8, q9, q10
        edgepack_winograd_weights_12 q8, q11, d0, d3, d6
        edgepack_winograd_weights_12 q9, q12, d1, d4, d7
        edgepack_winograd_weights_12 q10, q13, d2, d5, d8
        edgepack_winograd_weights_line q8, q9, q10
        edgepack_winograd_weights_line q11, q12, q13
        edgepack_winograd_weights_34 q8, q11, d0, d3, d6
        edgepack_winograd_weights_34 q9, q12, d1, d4, d7
        edgepack_winograd_weights_34 q10, q13, d2, d5, d8
        edgepack_winograd_weights_line q8, q9, q10
        edgepack_winograd_weights_line q11, q12, q13
        vmovl.s8 q8, d6
        vmovl.s8 q9, d7
        vmovl.s8 q10, d8
        edgepack_winograd_weights_line q8, q9, q10
        add     r0, r0, #8
        add     r6, r6, #16
        subs    r4, r4, #1
        bne     1b
        vpop    {d8}
        pop     {r4-r6, pc}
        .size   edgepack_neon32_winograd_weights, . - edgepack_neon32_winograd_weights

@ B d of columns of eight channels, to [columns][6][8].
@ void (const struct { const int8_t *from[6]; size_t step[6]; } *lines, int16_t *to, size_t columns)
@ r0-r5: pixels of the lines; r6-r11: from a pixel to the next; r12: to; lr: columns left, not 0.
        edgepack_function edgepack_neon32_winograd_columns
        push    {r4-r11, lr}
        mov     r12, r1
        mov     lr, r2
        add     r6, r0, #24
        ldmia   r0, {r0-r5}
        ldmia   r6, {r6-r11}
1:      vld1.8  {d0}, [r0], r6
        vld1.8  {d1}, [r1], r7
        vld1.8  {d2}, [r2], r8
        vld1.8  {d3}, [r3], r9
        vld1.8  {d4}, [r4], r10
        vld1.8  {d5}, [r5], r11
        vshll.s8 q9, d2, #2
        vsubl.s8 q8, d4, d2
        vshll.s8 q10, d1, #2
        vsubl.s8 q11, d3, d1
        vsubw.s8 q9, q9, d4
        vsubw.s8 q10, q10, d3
        vadd.i16 q12, q11, q11
        vsubl.s8 q14, d2, d0
        vsubl.s8 q13, d5, d3
        vadd.i16 q3, q9, q10
        vsub.i16 q10, q9, q10
        vmov    q9, q3
        vshl.i16 q14, q14, #2
        vshl.i16 q15, q11, #2
        vadd.i16 q11, q8, q12
        vsub.i16 q12, q8, q12
        vsub.i16 q8, q8, q14
        vsub.i16 q13, q13, q15
        vst1.16 {d16-d19}, [r12]!
        vst1.16 {d20-d23}, [r12]!
        vst1.16 {d24-d27}, [r12]!
        subs    lr, lr, #1
        bne     1b
        pop     {r4-r11, pc}
        .size   edgepack_neon32_winograd_columns, . - edgepack_neon32_winograd_columns

@ The product with transposed B, of six columns as they were left above.
@ void (const int16_t *columns, int16_t *to, size_t bytes from a point to the next)
        edgepack_function edgepack_neon32_winograd_patch
        push    {r4, lr}
        vpush   {d8-d11}
        mov     r3, #96
        mov     r4, #6
1:      vld1.16 {q0}, [r0], r3
        vld1.16 {q1}, [r0], r3
        vld1.16 {q2}, [r0], r3
        vld1.16 {q3}, [r0], r3
        vld1.16 {q4}, [r0], r3
        vld1.16 {q5}, [r0]
        sub     r0, r0, #464            @ to the next line
        vsub.i16 q8, q4, q2
        vsub.i16 q0, q2, q0
        vshl.i16 q0, q0, #2
        vsub.i16 q0, q8, q0
        vst1.16 {q0}, [r1], r2
        vshl.i16 q9, q2, #2
        vshl.i16 q10, q1, #2
        vsub.i16 q9, q9, q4
        vsub.i16 q10, q10, q3
        vsub.i16 q11, q3, q1
        vadd.i16 q12, q9, q10
        vst1.16 {q12}, [r1], r2
        vsub.i16 q9, q9, q10
        vst1.16 {q9}, [r1], r2
        vadd.i16 q12, q11, q11
        vadd.i16 q13, q8, q12
        vst1.16 {q13}, [r1], r2
        vsub.i16 q8, q8, q12
        vst1.16 {q8}, [r1], r2
        vsub.i16 q5, q5, q3
        vshl.i16 q11, q11, #2
        vsub.i16 q5, q5, q11
        vst1.16 {q5}, [r1], r2
        subs    r4, r4, #1
        bne     1b
        vpop    {d8-d11}
        pop     {r4, pc}
        .size   edgepack_neon32_winograd_patch, . - edgepack_neon32_winograd_patch

@ Products of one input channel, whose weights are in \low and \high, with a lane of each tile.
        .macro  edgepack_winograd_channel tiles, low, high, x0, x1, x2, x3
        vmlal.s16 q8, \low, \x0
        vmlal.s16 q9, \high, \x0
        .if \tiles > 1
        vmlal.s16 q10, \low, \x1
        vmlal.s16 q11, \high, \x1
        .endif
        .if \tiles > 2
        vmlal.s16 q12, \low, \x2
        vmlal.s16 q13, \high, \x2
        vmlal.s16 q14, \low, \x3
        vmlal.s16 q15, \high, \x3
        .endif
        .endm

@ Sums of products of all points: \tiles x 8 channels.
@ void name(const int16_t *weights, const int16_t *inputs, size_t k, int32_t to[36][8][8])
@ k is a multiple of 8, and not 0.
        .macro  edgepack_winograd_multiply name, tiles
        edgepack_function \name
        push    {r4, lr}
        vpush   {d8-d15}
        mov     r4, #36
1:      vmov.i32 q8, #0
        vmov.i32 q9, #0
        .if \tiles > 1
        vmov.i32 q10, #0
        vmov.i32 q11, #0
        .endif
        .if \tiles > 2
        vmov.i32 q12, #0
        vmov.i32 q13, #0
        vmov.i32 q14, #0
        vmov.i32 q15, #0
        .endif
        mov     r12, r2
2:      vld1.16 {d8-d11}, [r0:128]!
        .if \tiles == 1
        vld1.16 {d0-d1}, [r1:128]!
        .else
        vld1.16 {d0-d3}, [r1:128]!
        .endif
        .if \tiles > 2
        vld1.16 {d4-d7}, [r1:128]!
        .endif
        vld1.16 {d12-d15}, [r0:128]!
        edgepack_winograd_channel \tiles, d8, d9, d0[0], d2[0], d4[0], d6[0]
        edgepack_winograd_channel \tiles, d10, d11, d0[1], d2[1], d4[1], d6[1]
        vld1.16 {d8-d11}, [r0:128]!
        edgepack_winograd_channel \tiles, d12, d13, d0[2], d2[2], d4[2], d6[2]
        edgepack_winograd_channel \tiles, d14, d15, d0[3], d2[3], d4[3], d6[3]
        vld1.16 {d12-d15}, [r0:128]!
        edgepack_winograd_channel \tiles, d8, d9, d1[0], d3[0], d5[0], d7[0]
        edgepack_winograd_channel \tiles, d10, d11, d1[1], d3[1], d5[1], d7[1]
        edgepack_winograd_channel \tiles, d12, d13, d1[2], d3[2], d5[2], d7[2]
        subs    r12, r12, #8
        edgepack_winograd_channel \tiles, d14, d15, d1[3], d3[3], d5[3], d7[3]
        bne     2b
        vst1.32 {d16-d19}, [r3:128]!
        .if \tiles > 1
        vst1.32 {d20-d23}, [r3:128]!
        .endif
        .if \tiles > 2
        vst1.32 {d24-d27}, [r3:128]!
        vst1.32 {d28-d31}, [r3:128]!
        .endif
        add     r3, r3, #256 - 32 * \tiles
        subs    r4, r4, #1
        bne     1b
        vpop    {d8-d15}
        pop     {r4, pc}
        .size   \name, . - \name
        .endm

        edgepack_winograd_multiply edgepack_neon32_winograd_multiply_4, 4
        edgepack_winograd_multiply edgepack_neon32_winograd_multiply_2, 2
        edgepack_winograd_multiply edgepack_neon32_winograd_multiply_1, 1

@ A times the sums in q8-q13, to q0, q1, q10, q13. d14: 6, 4; d15: 2, the inverse of 9. Writes q0, q1, q8-q15.
        .macro  edgepack_winograd_interpolate
        vadd.i32 q14, q9, q10
        vsub.i32 q15, q9, q10
        vadd.i32 q0, q11, q12
        vsub.i32 q1, q11, q12
        vmul.i32 q13, q13, d14[0]
        vadd.i32 q10, q14, q0
        vadd.i32 q13, q13, q15
        vmla.i32 q0, q14, d14[1]
        vmla.i32 q13, q1, d15[0]
        vmla.i32 q1, q15, d15[0]
        vmla.i32 q0, q8, d14[0]
        .endm

@ From 9 * 2^\shift times an output to the output, and what was before.
        .macro  edgepack_winograd_output sums, shift
        vmul.i32 \sums, \sums, d15[1]
        vld1.32 {q6}, [r4], r5
        vshr.s32 \sums, \sums, #\shift
        vadd.i32 \sums, \sums, q6
        .endm

        .macro  edgepack_winograd_requantize sums, shift, narrow
        edgepack_winograd_output \sums, \shift
        vcvt.f32.s32 \sums, \sums
        vmul.f32 \sums, \sums, q5
        edgepack_round \sums, \narrow
        .endm

@ The same with four residuals, int16 in \added, whose multiplier is q4. Their products are exact, so that it
@ does not matter that vmla rounds them.
        .macro  edgepack_winograd_requantize_sum sums, shift, added, narrow
        edgepack_winograd_output \sums, \shift
        vcvt.f32.s32 \sums, \sums
        vmovl.s16 q6, \added
        vmul.f32 \sums, \sums, q5
        vcvt.f32.s32 q6, q6
        vmla.f32 \sums, q6, q4
        edgepack_round \sums, \narrow
        .endm

@ Stores a line of int16 in q8 and q9 as bytes; q14 and q15 are bounds.
        .macro  edgepack_winograd_store_line
        vqmovn.s16 d16, q8
        vqmovn.s16 d17, q9
        vmax.s8 q8, q8, q14
        vmin.s8 q8, q8, q15
        vst1.32 {d16[0]}, [r10], r9
        vst1.32 {d16[1]}, [r10], r9
        vst1.32 {d17[0]}, [r10], r9
        vst1.32 {d17[1]}, [r10]
        .endm

@ A line of outputs and residuals to bytes; \s0 to \s3 are the shifts.
        .macro  edgepack_winograd_residual_line s0, s1, s2, s3
        vld1.32 {d16-d19}, [r3]!
        vld1.32 {d20-d23}, [r3]!
        vld1.32 {d24-d27}, [r3]!
        edgepack_winograd_interpolate
        vld1.8  {d28-d31}, [lr]         @ bounds
        add     r10, r7, r0
        vld1.32 {d22[0]}, [r10], r9
        vld1.32 {d22[1]}, [r10], r9
        vld1.32 {d23[0]}, [r10], r9
        vld1.32 {d23[1]}, [r10]
        mov     r10, r7
        add     r7, r7, r8
        vmovl.s8 q12, d22
        vmovl.s8 q11, d23
        edgepack_winograd_requantize_sum q0, \s0, d24, d16
        edgepack_winograd_requantize_sum q1, \s1, d25, d17
        edgepack_winograd_requantize_sum q10, \s2, d22, d18
        edgepack_winograd_requantize_sum q13, \s3, d23, d19
        edgepack_winograd_store_line
        .endm

@ A line of outputs to bytes; \s0 to \s3 are the shifts.
        .macro  edgepack_winograd_bytes_line s0, s1, s2, s3
        vld1.32 {d16-d19}, [r3]!
        vld1.32 {d20-d23}, [r3]!
        vld1.32 {d24-d27}, [r3]!
        edgepack_winograd_interpolate
        vld1.8  {d28-d31}, [lr]         @ bounds
        mov     r10, r7
        add     r7, r7, r8
        edgepack_winograd_requantize q0, \s0, d16
        edgepack_winograd_requantize q1, \s1, d17
        edgepack_winograd_requantize q10, \s2, d18
        edgepack_winograd_requantize q13, \s3, d19
        edgepack_winograd_store_line
        .endm

@ A line of outputs, added to sums of 32 bits.
        .macro  edgepack_winograd_sums_line s0, s1, s2, s3
        vld1.32 {d16-d19}, [r3]!
        vld1.32 {d20-d23}, [r3]!
        vld1.32 {d24-d27}, [r3]!
        edgepack_winograd_interpolate
        edgepack_winograd_output q0, \s0
        edgepack_winograd_output q1, \s1
        edgepack_winograd_output q10, \s2
        edgepack_winograd_output q13, \s3
        vst1.32 {q0}, [r7], r8
        vst1.32 {q1}, [r7], r8
        vst1.32 {q10}, [r7], r8
        vst1.32 {q13}, [r7], r8
        .endm

@ The outputs of a tile, four channels and then four more.
@ void name(const struct Outputs *)
@ r0: from an output to its residual; r1: sums of a column of points; r2: from a line of points to the next; r3: columns on the stack, [4][6];
@ r4, r5: what was before, and from a pixel to the next; r6: multipliers; r7: out; r8, r9: from a line (in
@ sums: a pixel) to the next, from a pixel to the next; r10: columns left; r11: twice; r12: from a line of the
@ columns to the next; lr: bounds.
        .macro  edgepack_winograd_outputs name, line, next
        edgepack_function \name
        push    {r4-r11, lr}
        vpush   {d8-d15}
        sub     sp, sp, #392
        ldr     r1, [r0]
        ldr     r4, [r0, #4]
        ldr     r5, [r0, #8]
        ldr     r6, [r0, #12]
        ldr     lr, [r0, #16]
        ldr     r7, [r0, #20]
        ldr     r8, [r0, #24]
        ldr     r9, [r0, #28]
        add     r0, r0, #32
        vld1.32 {d14-d15}, [r0]!
        .ifnc   \line, edgepack_winograd_sums_line
        vld1.32 {d4-d7}, [lr]!          @ see edgepack_round
        .endif
        .ifc    \line, edgepack_winograd_residual_line
        vld1.32 {d8[], d9[]}, [r0]!
        ldr     r0, [r0]
        .endif
        mov     r2, #1536
        mov     r11, #2
        mov     r12, #96
1:      mov     r3, sp
        mov     r10, #6
2:      vld1.32 {q8}, [r1], r2
        vld1.32 {q9}, [r1], r2
        vld1.32 {q10}, [r1], r2
        vld1.32 {q11}, [r1], r2
        vld1.32 {q12}, [r1], r2
        vld1.32 {q13}, [r1], r2
        sub     r1, r1, #8960
        edgepack_winograd_interpolate
        vst1.32 {q0}, [r3], r12
        vst1.32 {q1}, [r3], r12
        vst1.32 {q10}, [r3], r12
        vst1.32 {q13}, [r3]
        sub     r3, r3, #272
        subs    r10, r10, #1
        bne     2b
        mov     r3, sp
        str     r4, [sp, #384]
        .ifnc   \line, edgepack_winograd_sums_line
        vld1.32 {q5}, [r6]!
        .endif
        str     r7, [sp, #388]
        \line   6, 5, 4, 4
        \line   5, 4, 3, 3
        \line   4, 3, 2, 2
        \line   4, 3, 2, 2
        ldr     r4, [sp, #384]
        ldr     r7, [sp, #388]
        sub     r1, r1, #1520
        add     r4, r4, #16
        add     r7, r7, #\next
        subs    r11, r11, #1
        bne     1b
        add     sp, sp, #392
        vpop    {d8-d15}
        pop     {r4-r11, pc}
        .size   \name, . - \name
        .endm

        edgepack_winograd_outputs edgepack_neon32_winograd_bytes, edgepack_winograd_bytes_line, 4
        edgepack_winograd_outputs edgepack_neon32_winograd_residual, edgepack_winograd_residual_line, 4
        edgepack_winograd_outputs edgepack_neon32_winograd_sums, edgepack_winograd_sums_line, 16
