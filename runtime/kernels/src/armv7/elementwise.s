@ Element-wise operations, 8 elements at a time: every operation of the reference, in its order.
@ q2-q5: Range; q14, q15: multipliers of a and b; d26, d27: their zero points.

@ Loads the constants and 8 elements of each; the differences from the zero points go to q8 and q9.
@ r1: a; r2: b; r3: out; r4: from 8 elements of b to the next; r5: eights; r6: constants.
        .macro  edgepack_binary_begin
        push    {r4-r6, lr}
        vpush   {d8-d11}
        ldm     r0, {r1-r6}
        vldmia  r6!, {d4-d11}
        vldmia  r6!, {d28-d31}
        vldmia  r6, {d26-d27}
1:      vld1.8  {d0}, [r1]!
        vld1.8  {d1}, [r2], r4
        vsubl.s8 q8, d0, d26
        vsubl.s8 q9, d1, d27
        .endm

@ Rounds and stores q10 and q11.
        .macro  edgepack_binary_end
        edgepack_round q10, d2
        edgepack_round q11, d3
        vqmovn.s16 d2, q1
        vmax.s8 d2, d2, d8
        vmin.s8 d2, d2, d10
        vst1.8  {d2}, [r3]!
        subs    r5, r5, #1
        bne     1b
        vpop    {d8-d11}
        pop     {r4-r6, pc}
        .endm

@ void edgepack_neon32_add(const struct Eights *)
        edgepack_function edgepack_neon32_add
        edgepack_binary_begin
        vmovl.s16 q10, d16
        vmovl.s16 q11, d17
        vmovl.s16 q12, d18
        vmovl.s16 q0, d19
        vcvt.f32.s32 q10, q10
        vcvt.f32.s32 q11, q11
        vcvt.f32.s32 q12, q12
        vcvt.f32.s32 q0, q0
        vmul.f32 q10, q10, q14
        vmul.f32 q11, q11, q14
        vmul.f32 q12, q12, q15
        vmul.f32 q0, q0, q15
        vadd.f32 q10, q10, q12
        vadd.f32 q11, q11, q0
        edgepack_binary_end
        .size   edgepack_neon32_add, . - edgepack_neon32_add

@ void edgepack_neon32_mul(const struct Eights *)
        edgepack_function edgepack_neon32_mul
        edgepack_binary_begin
        vmull.s16 q10, d16, d18
        vmull.s16 q11, d17, d19
        vcvt.f32.s32 q10, q10
        vcvt.f32.s32 q11, q11
        vmul.f32 q10, q10, q14
        vmul.f32 q11, q11, q14
        edgepack_binary_end
        .size   edgepack_neon32_mul, . - edgepack_neon32_mul
