//! Pieces of the arena: some to read, others to write.

use core::ops::Range;

use edgepack_format::plan::Span;

pub(crate) fn bounds(span: Span) -> Range<usize> {
    span.offset as usize..span.offset as usize + span.bytes as usize
}

/// Two spans that do not overlap: one to read, one to write.
pub(crate) fn pair(arena: &mut [u8], read: Span, write: Span) -> Option<(&[u8], &mut [u8])> {
    let [read, write] = arena.get_disjoint_mut([bounds(read), bounds(write)]).ok()?;
    Some((read, write))
}

/// Two spans to read, which may share memory, and one to write, which overlaps neither.
pub(crate) fn apart(arena: &mut [u8], reads: [Span; 2], write: Span) -> Option<([&[u8]; 2], &mut [u8])> {
    let after = Span { offset: write.offset + write.bytes, bytes: 0 };
    let (reads, [output, _]) = apart_from_two(arena, reads, [write, after])?;
    Some((reads, output))
}

/// Two pieces of the arena to read and two to write.
pub(crate) type Pieces<'a> = ([&'a [u8]; 2], [&'a mut [u8]; 2]);

/// The same with two spans to write, which do not overlap either.
pub(crate) fn apart_from_two(arena: &mut [u8], reads: [Span; 2], writes: [Span; 2]) -> Option<Pieces<'_>> {
    let swapped = writes[1].offset < writes[0].offset;
    let [first, second] = if swapped { [writes[1], writes[0]] } else { writes }.map(bounds);
    let (rest, after) = arena.split_at_mut_checked(second.end)?;
    let (rest, second_write) = rest.split_at_mut_checked(second.start)?;
    let (rest, between) = rest.split_at_mut_checked(first.end)?;
    let (before, first_write) = rest.split_at_mut_checked(first.start)?;
    let parts: [(usize, &[u8]); 3] = [(0, before), (first.end, between), (second.end, after)];
    let read = |span: Span| {
        let Range { start, end } = bounds(span);
        let inside = |&(at, part): &(usize, &'_ [u8])| start >= at && end <= at + part.len();
        let (at, part) = parts.into_iter().find(inside)?;
        part.get(start - at..end - at)
    };
    let reads = [read(reads[0])?, read(reads[1])?];
    let writes = if swapped { [second_write, first_write] } else { [first_write, second_write] };
    Some((reads, writes))
}

/// Two pieces of the arena to read, one to write, and the scratch memory, if there is any.
pub(crate) type WithScratch<'a> = ([&'a [u8]; 2], &'a mut [u8], &'a mut [u8]);

/// The same with one span to write and perhaps scratch memory.
pub(crate) fn apart_with_scratch(
    arena: &mut [u8],
    reads: [Span; 2],
    write: Span,
    scratch: Span,
) -> Option<WithScratch<'_>> {
    // Most steps read one span, which is had for less than two.
    if reads[0] == reads[1] {
        let spans = [reads[0], write, scratch].map(bounds);
        let (read, output, scratch): (&[u8], &mut [u8], &mut [u8]) = if scratch.bytes == 0 {
            let (read, output) = pair(arena, reads[0], write)?;
            (read, output, &mut [])
        } else {
            let [read, output, scratch] = arena.get_disjoint_mut(spans).ok()?;
            (read, output, scratch)
        };
        return Some(([read, read], output, scratch));
    }
    if scratch.bytes == 0 {
        let (reads, output) = apart(arena, reads, write)?;
        return Some((reads, output, &mut []));
    }
    let (reads, [output, scratch]) = apart_from_two(arena, reads, [write, scratch])?;
    Some((reads, output, scratch))
}
