//! Scratch memory for one board instead of for all.

use edgepack_engine::conv_shape;
use edgepack_format::plan::Op;
use edgepack_kernels::conv::{ConvShape, rows, select};
use edgepack_kernels::isa::IsaSet;

use crate::lower::Lowered;
use crate::pack::Target;

/// Takes away what convolutions have of scratch memory for Winograd's method on other processors than the target's,
/// for which it may be as much as all tensors together; where that is a microcontroller, for anything that its own
/// kernels do without. Other processors run the same convolutions by their next rows
/// (`edgepack_kernels::conv::select_within`), the workstation among them, to the same bits.
pub fn fit_scratch(lowered: &mut Lowered, target: Option<&Target>) {
    let Some(target) = target else { return };
    for step in &mut lowered.steps {
        let Op::Conv(conv) = &step.op else { continue };
        let needed = needed(&conv_shape(&conv.window, conv.groups), Some(target)) as u32;
        if needed < step.scratch.bytes {
            lowered.buffers[step.scratch.offset as usize].bytes = needed;
            step.scratch.bytes = needed;
        }
    }
}

/// What a convolution of this shape has of scratch memory in a package for a target.
pub fn needed(shape: &ConvShape, target: Option<&Target>) -> usize {
    match target {
        None => crate::lower::scratch_bytes(shape),
        Some(target) if target.is_microcontroller => select(shape, target.isa).scratch_bytes(shape),
        Some(target) => scratch_bytes(shape, target.isa),
    }
}

/// The most that a row of any processor wants, but for those of Winograd's method that `isa` does not choose.
fn scratch_bytes(shape: &ConvShape, isa: IsaSet) -> usize {
    let chosen = select(shape, isa);
    let wanted = rows().filter(|row| row.accepts(shape));
    let wanted = wanted.filter(|row| !row.is_winograd() || std::ptr::eq(*row, chosen));
    wanted.map(|row| row.scratch_bytes(shape)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_without_winograd_need_less_and_those_with_it_what_it_wants() {
        let shape = ConvShape {
            in_h: 16,
            in_w: 16,
            out_h: 16,
            out_w: 16,
            kernel_h: 3,
            kernel_w: 3,
            pad_top: 1,
            pad_left: 1,
            ..ConvShape::fully_connected(1, 64, 64)
        };
        let [dotprod, neon] = [IsaSet::DOTPROD, IsaSet::NEON].map(|isa| scratch_bytes(&shape, isa));
        assert!(dotprod < neon, "{dotprod} {neon}");
        for isa in [IsaSet::DOTPROD, IsaSet::NEON, IsaSet::NEON32, IsaSet::AVX512_VNNI] {
            assert!(select(&shape, isa).scratch_bytes(&shape) <= scratch_bytes(&shape, isa), "{isa}");
        }
    }
}
