@ Pooling of one window, 16 channels at a time; the last block begins early enough to be whole.
@ r0: channels left; r1: the block in the input; r2: pixel; r3: line; r4: to the next pixel; r5: pixels; r6: to
@ the next line; r7: lines; r8: out; r9: constants, then lines left; r10: pixels left.

        .macro  edgepack_pool_begin
        push    {r4-r10, lr}
        vpush   {d8-d15}
        ldm     r0, {r0, r1, r4-r9}
        .endm

        .macro  edgepack_pool_end
        subs    r0, r0, #16
        ble     4f
        rsbs    r2, r0, #16
        ble     1b
        sub     r1, r1, r2
        sub     r8, r8, r2
        mov     r0, #16
        b       1b
4:      vpop    {d8-d15}
        pop     {r4-r10, pc}
        .endm

@ void edgepack_neon32_max_pool(const struct Part *)
        edgepack_function edgepack_neon32_max_pool
        edgepack_pool_begin
1:      mov     r3, r1
        add     r1, r1, #16
        mov     r9, r7
        vmov.i8 q8, #0x80
2:      mov     r2, r3
        add     r3, r3, r6
        mov     r10, r5
3:      vld1.8  {d12-d13}, [r2], r4
        vmax.s8 q8, q8, q6
        subs    r10, r10, #1
        bne     3b
        subs    r9, r9, #1
        bne     2b
        vst1.8  {d16-d17}, [r8]!
        edgepack_pool_end
        .size   edgepack_neon32_max_pool, . - edgepack_neon32_max_pool

@ void edgepack_neon32_average_pool(const struct Part *)
@ At most 255 pixels a line: they are added in int16 (255 * 128 = 32640), and lines in int32.
@ q0: multiplier; q1: what sums begin with; q2-q5: Range; q7, q14: sums of a line; q8-q11: sums.
        edgepack_function edgepack_neon32_average_pool
        edgepack_pool_begin
        vldmia  r9, {d0-d11}
1:      mov     r3, r1
        add     r1, r1, #16
        mov     r9, r7
        vmov    q8, q1
        vmov    q9, q1
        vmov    q10, q1
        vmov    q11, q1
2:      mov     r2, r3
        add     r3, r3, r6
        mov     r10, r5
        vmov.i16 q7, #0
        vmov.i16 q14, #0
3:      vld1.8  {d12-d13}, [r2], r4
        vaddw.s8 q7, q7, d12
        vaddw.s8 q14, q14, d13
        subs    r10, r10, #1
        bne     3b
        vaddw.s16 q8, q8, d14
        vaddw.s16 q9, q9, d15
        vaddw.s16 q10, q10, d28
        vaddw.s16 q11, q11, d29
        subs    r9, r9, #1
        bne     2b
        vcvt.f32.s32 q8, q8
        vcvt.f32.s32 q9, q9
        vcvt.f32.s32 q10, q10
        vcvt.f32.s32 q11, q11
        vmul.f32 q8, q8, q0
        vmul.f32 q9, q9, q0
        vmul.f32 q10, q10, q0
        vmul.f32 q11, q11, q0
        edgepack_round q8, d14
        edgepack_round q9, d15
        edgepack_round q10, d28
        edgepack_round q11, d29
        vqmovn.s16 d14, q7
        vqmovn.s16 d15, q14
        vmax.s8 q7, q7, q4
        vmin.s8 q7, q7, q5
        vst1.8  {d14-d15}, [r8]!
        edgepack_pool_end
        .size   edgepack_neon32_average_pool, . - edgepack_neon32_average_pool
