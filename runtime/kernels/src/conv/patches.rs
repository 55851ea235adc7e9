//! *Patches*: all that an output pixel reads, copied together, so that a kernel has one tap and no border. For
//! kernels of few channels, whose lines are a register or a few: copying one costs an instruction to load and one
//! to store, less than a pointer to it.
//!
//! Patches are copied from a *plane*, the lines of the input that a strip of output lines reads, with the padding
//! around them. Registers are copied whole: what is too much of a line is overwritten by the next one, and behind
//! the last one meets zero weights or is not read.

use super::ConvShape;
use super::pack::{Layout, PANEL_ALIGN, TapKind};

/// The longest line of a kernel: above, copying costs more than what it saves.
const LONGEST_LINE: usize = 96;
/// Bytes of a plane, where a line of the output does not read more.
const PLANE_BYTES: usize = 4 * 1024;
/// Bytes of the patches that are copied at a time, and how many they are.
const PATCHES_BYTES: usize = 6 * 1024;
const LEAST_PATCHES: usize = 16;
const MOST_PATCHES: usize = 64;
/// Bytes of a register.
const REGISTER: usize = 16;

/// The geometry of a convolution by patches.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "aarch64"), expect(dead_code))]
pub(super) struct Patches {
    /// The most output lines of a strip.
    pub lines: usize,
    /// Bytes of a line of the plane.
    pub line_bytes: usize,
    /// Bytes that a line of the kernel reads, and from one to the next in a patch.
    pub kernel_line: usize,
    pub pitch: usize,
    /// Values of a patch that have weights, or zeros in their place.
    pub elems: usize,
    /// Patches at a time, and bytes from one to the next.
    pub count: usize,
    pub patch_bytes: usize,
    /// Bytes of the plane and of the patches in the scratch memory.
    pub scratch: [usize; 2],
}

impl Patches {
    /// `None` where a layout's kernels read in another way.
    pub fn new(layout: &Layout, shape: &ConvShape) -> Option<Self> {
        let kernel_line = shape.kernel_w.saturating_mul(shape.in_channels);
        // Small layers are asked for their sizes at every run, and most of them need no more than this.
        if !layout.has_patches()
            || (shape.kernel_h, shape.kernel_w) == (1, 1)
            || (shape.groups, shape.dilation_h, shape.dilation_w) != (1, 1, 1)
            || kernel_line > LONGEST_LINE
        {
            return None;
        }
        let taps = layout.taps(shape);
        if taps.kind == TapKind::Pixels {
            return None;
        }
        let up = |bytes: usize, to: usize| bytes.saturating_add(to - 1) & !(to - 1);
        let last_column = shape.out_w.saturating_sub(1).saturating_mul(shape.stride_w);
        let line_bytes = last_column.saturating_add(shape.kernel_w).saturating_mul(shape.in_channels);
        let in_lines = (PLANE_BYTES / line_bytes.max(1)).max(shape.kernel_h);
        let lines = ((in_lines - shape.kernel_h) / shape.stride_h.max(1) + 1).clamp(1, shape.out_h.max(1));
        let in_lines = (lines - 1).saturating_mul(shape.stride_h).saturating_add(shape.kernel_h);
        let pitch = if taps.kind == TapKind::Lines { taps.elems } else { kernel_line };
        let elems = taps.count.saturating_mul(taps.elems);
        let copied = (shape.kernel_h.saturating_sub(1).saturating_mul(pitch))
            .saturating_add(up(kernel_line, REGISTER));
        let patch_bytes = up(elems.max(copied).max(1), REGISTER);
        let count = ((PATCHES_BYTES / patch_bytes) & !3).clamp(LEAST_PATCHES, MOST_PATCHES);
        let plane = in_lines.saturating_mul(line_bytes).saturating_add(REGISTER);
        let scratch = [up(plane, PANEL_ALIGN), up(count.saturating_mul(patch_bytes), PANEL_ALIGN)];
        Some(Self { lines, line_bytes, kernel_line, pitch, elems, count, patch_bytes, scratch })
    }

    /// Bytes of scratch memory.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch[0].saturating_add(self.scratch[1])
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use driver::run;

#[cfg(target_arch = "aarch64")]
mod driver {
    use core::arch::asm;
    use core::array;

    use super::{MOST_PATCHES, Patches, REGISTER};
    use crate::conv::gemm::{Micro, Tile, TileOutput};
    use crate::conv::{ConvArgs, ConvShape, WeightSource};

    /// Runs a convolution by tiles of `micro` over patches.
    ///
    /// # Safety
    /// `args` as [`ConvArgs`] documents, packed for `micro.layout`; `patches` are those of its shape. The
    /// processor has the ISA of `micro.tile`.
    pub unsafe fn run(args: &mut ConvArgs<'_>, micro: &Micro, patches: &Patches) {
        let (shape, layout) = (args.shape, micro.layout);
        let WeightSource::Packed(packed) = args.weights else { return };
        let (out, residual) = TileOutput::of(&mut args.output, args.residual);
        let (plane, rest) = args.scratch.split_at_mut(patches.scratch[0]);
        let copies = rest[..patches.scratch[1]].as_mut_ptr().cast::<i8>();
        // Padding left and right of the lines stays as it is for all strips.
        plane.fill(args.input_zero_point as u8);
        let plane = plane.as_mut_ptr().cast::<i8>();
        let rows: [*const i8; MOST_PATCHES] = array::from_fn(|i| {
            copies.wrapping_add(i.min(patches.count - 1) * patches.patch_bytes).cast_const()
        });
        // As few strips as fit, and all of about the same size.
        let step = shape.out_h.div_ceil(shape.out_h.div_ceil(patches.lines));
        for image in 0..shape.batch {
            for first in (0..shape.out_h).step_by(step) {
                let lines = step.min(shape.out_h - first);
                let pixels = lines * shape.out_w;
                let out_pixel = (image * shape.out_h + first) * shape.out_w;
                let image = &args.input[image * shape.in_h * shape.in_w * shape.in_channels..];
                // SAFETY: the plane has room for the lines of a strip.
                unsafe { fill(patches, &shape, image, args.input_zero_point, [first, lines], plane) };
                let mut at = [0, 0];
                for pixel in (0..pixels).step_by(patches.count) {
                    let live_pixels = patches.count.min(pixels - pixel);
                    // SAFETY: the pixels are the strip's, at most as many as there is room for. Every row has
                    // so many readable values, the panels are inside `packed`, whose length was checked
                    // against the layout, and the output position is inside `[pixels, out_channels]`.
                    unsafe {
                        at = gather(patches, &shape, plane, at, live_pixels, copies);
                        (micro.tile)(&Tile {
                            rows: rows.as_ptr(),
                            taps: 1,
                            tap_elems: patches.elems,
                            panel: packed.as_ptr(),
                            panel_bytes: layout.panel_bytes(&shape),
                            live_pixels,
                            live_channels: shape.out_channels,
                            out: out.add((out_pixel + pixel) * shape.out_channels),
                            out_stride: shape.out_channels,
                            residual,
                        });
                    }
                }
            }
        }
    }

    /// Fills the plane with the lines of `image` that `count` output lines from `first` on read. The padding at
    /// both ends of its lines is there.
    ///
    /// # Safety
    /// The lines exist; `plane` has room for so many.
    unsafe fn fill(
        patches: &Patches,
        shape: &ConvShape,
        image: &[i8],
        zero_point: i8,
        [first, count]: [usize; 2],
        plane: *mut i8,
    ) {
        let left = shape.pad_left * shape.in_channels;
        let in_line = shape.in_w * shape.in_channels;
        let inside = patches.line_bytes.saturating_sub(left).min(in_line);
        if inside == 0 {
            return;
        }
        for line in 0..(count - 1) * shape.stride_h + shape.kernel_h {
            let y = (first * shape.stride_h + line).checked_sub(shape.pad_top).filter(|&y| y < shape.in_h);
            // SAFETY: the line is one of the plane's, and `left + inside` at most its length; the line of the
            // image has `inside` values.
            unsafe {
                let to = plane.add(line * patches.line_bytes + left);
                match y {
                    Some(y) => to.copy_from_nonoverlapping(image[y * in_line..][..inside].as_ptr(), inside),
                    None => to.write_bytes(zero_point as u8, inside),
                }
            }
        }
    }

    /// Copies the patches of `count` pixels of a strip from line and column `at` on. Gives where the next one is.
    ///
    /// # Safety
    /// The pixels are in the strip that `plane` was filled for; `to` has room for them.
    unsafe fn gather(
        patches: &Patches,
        shape: &ConvShape,
        plane: *const i8,
        [mut line, mut column]: [usize; 2],
        count: usize,
        to: *mut i8,
    ) -> [usize; 2] {
        let step = shape.stride_w * shape.in_channels;
        let mut done = 0;
        while done < count {
            // The pixels of one output line.
            let run = (count - done).min(shape.out_w - column);
            let from = plane.wrapping_add(line * shape.stride_h * patches.line_bytes + column * step);
            let to = to.wrapping_add(done * patches.patch_bytes);
            for ky in 0..shape.kernel_h {
                for part in (0..patches.kernel_line).step_by(4 * REGISTER) {
                    let from = from.wrapping_add(ky * patches.line_bytes + part);
                    let to = to.wrapping_add(ky * patches.pitch + part);
                    let registers = (patches.kernel_line - part).div_ceil(REGISTER).min(4);
                    // SAFETY: the line is inside the plane, and the patch has room for its registers, as the
                    // plane has behind its last line.
                    unsafe { copy(registers, from, to, [step, patches.patch_bytes], run) };
                }
            }
            (done, column) = (done + run, column + run);
            if column == shape.out_w {
                (line, column) = (line + 1, 0);
            }
        }
        [line, column]
    }

    /// Copies so many registers `count` times, from and to places that are so far from one another.
    ///
    /// # Safety
    /// One to four registers can be read and written in all places, of which none is read that is written.
    unsafe fn copy(
        registers: usize,
        from: *const i8,
        to: *mut i8,
        [from_step, to_step]: [usize; 2],
        count: usize,
    ) {
        macro_rules! copy {
            ($one:literal, $other:literal) => {
                asm!(
                    "tbz {count}, #0, 21f",
                    concat!("ld1 {{", $one, "}}, [{from}], {from_step}"),
                    concat!("st1 {{", $one, "}}, [{to}], {to_step}"),
                    "21:",
                    "lsr {count}, {count}, #1",
                    "cbz {count}, 23f",
                    "22:",
                    concat!("ld1 {{", $one, "}}, [{from}], {from_step}"),
                    concat!("ld1 {{", $other, "}}, [{from}], {from_step}"),
                    concat!("st1 {{", $one, "}}, [{to}], {to_step}"),
                    "subs {count}, {count}, #1",
                    concat!("st1 {{", $other, "}}, [{to}], {to_step}"),
                    "b.ne 22b",
                    "23:",
                    from = inout(reg) from => _,
                    to = inout(reg) to => _,
                    from_step = in(reg) from_step,
                    to_step = in(reg) to_step,
                    count = inout(reg) count => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    options(nostack),
                )
            };
        }
        // SAFETY: the caller's promise.
        unsafe {
            match registers {
                1 => copy!("v0.16b", "v1.16b"),
                2 => copy!("v0.16b, v1.16b", "v2.16b, v3.16b"),
                3 => copy!("v0.16b, v1.16b, v2.16b", "v3.16b, v4.16b, v5.16b"),
                _ => copy!("v0.16b, v1.16b, v2.16b, v3.16b", "v4.16b, v5.16b, v6.16b, v7.16b"),
            }
        }
    }
}
