@ vtbl picks 8 bytes from a table of 32 and gives 0 for an index beyond it; vtbx keeps what was there. So
@ eight of them cover 256 entries, each after another 32 has been subtracted from the index. Read as
@ unsigned, the values 0 to 127 come first, and the table's second half is theirs.

@ Entries at r12 for \count registers of indices from d16 on; results from d24 on.
        .macro  edgepack_lookup_entries count, pick
        vld1.8  {d0-d3}, [r12]!
        \pick   d24, {d0-d3}, d16
        \pick   d25, {d0-d3}, d17
        .if \count > 2
        \pick   d26, {d0-d3}, d18
        \pick   d27, {d0-d3}, d19
        \pick   d28, {d0-d3}, d20
        \pick   d29, {d0-d3}, d21
        \pick   d30, {d0-d3}, d22
        \pick   d31, {d0-d3}, d23
        .endif
        .endm

        .macro  edgepack_lookup_next count
        vsub.i8 q8, q8, q2
        .if \count > 2
        vsub.i8 q9, q9, q2
        vsub.i8 q10, q10, q2
        vsub.i8 q11, q11, q2
        .endif
        edgepack_lookup_entries \count, vtbx.8
        .endm

@ void name(const int8_t *from, int8_t *to, const int8_t *table, size_t blocks)
@ 8 * \count elements a block.
        .macro  edgepack_lookup name, count
        edgepack_function \name
        vmov.i8 q2, #32
        add     r2, r2, #128
1:
        .if \count > 2
        vld1.8  {d16-d19}, [r0]!
        vld1.8  {d20-d23}, [r0]!
        .else
        vld1.8  {d16-d17}, [r0]!
        .endif
        mov     r12, r2
        edgepack_lookup_entries \count, vtbl.8
        edgepack_lookup_next \count
        edgepack_lookup_next \count
        edgepack_lookup_next \count
        sub     r12, r12, #256
        edgepack_lookup_next \count
        edgepack_lookup_next \count
        edgepack_lookup_next \count
        edgepack_lookup_next \count
        .if \count > 2
        vst1.8  {d24-d27}, [r1]!
        vst1.8  {d28-d31}, [r1]!
        .else
        vst1.8  {d24-d25}, [r1]!
        .endif
        subs    r3, r3, #1
        bne     1b
        bx      lr
        .size   \name, . - \name
        .endm

        edgepack_lookup edgepack_neon32_lookup_64, 8
        edgepack_lookup edgepack_neon32_lookup_16, 2
