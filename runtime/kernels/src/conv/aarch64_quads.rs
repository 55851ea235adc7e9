//! What the AArch64 tiles by four pixels share: 4 pixels × up to 3 panels of 8 channels, 24 accumulators of
//! the 32 registers. Few pixels by many channels, since weights lie together and one instruction loads
//! four registers of them, where each pixel's values are a load of their own.

use core::array;

use core::mem::MaybeUninit;

use super::gemm::Tile;

/// Channels of a panel.
pub(super) const NR: usize = 8;

/// The most panels at once.
pub(super) const MAX_PANELS: usize = 3;

/// Room for the results of a quad that are not all live.
pub(super) type Spare<T> = [[MaybeUninit<T>; MAX_PANELS * NR]; 4];

/// Four pixels of a tile.
pub(super) struct Quad<'a> {
    tile: &'a Tile,
    /// The first pixel.
    pixel: usize,
    /// The first channel.
    channel: usize,
}

impl<'a> Quad<'a> {
    /// The quads of a tile at `channel`.
    pub fn all(tile: &'a Tile, channel: usize) -> impl Iterator<Item = Self> {
        (0..tile.live_pixels).step_by(4).map(move |pixel| Self { tile, pixel, channel })
    }

    /// Panel `p` from the quad's channel on: NR biases, NR multipliers, weights.
    ///
    /// # Safety
    /// The panel exists.
    #[inline(always)]
    pub unsafe fn panel(&self, p: usize) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe { self.tile.panel.add((self.channel / NR + p) * self.tile.panel_bytes) }
    }

    /// The weights of `P` panels.
    ///
    /// # Safety
    /// The panels exist.
    #[inline(always)]
    pub unsafe fn weights<const P: usize>(&self) -> [*const i8; P] {
        // SAFETY: the caller's promise; weights follow biases and multipliers.
        array::from_fn(|p| unsafe { self.panel(p).add(NR * 8).cast() })
    }

    /// Each pixel's pointers to the input of its taps.
    ///
    /// # Safety
    /// The tile has rows for four pixels from this one on.
    #[inline(always)]
    pub unsafe fn rows(&self) -> [*const *const i8; 4] {
        // SAFETY: the caller's promise.
        array::from_fn(|m| unsafe { self.tile.rows.add((self.pixel + m) * self.tile.taps) })
    }

    /// The biases of panel `p`.
    ///
    /// # Safety
    /// The panel exists.
    #[inline(always)]
    pub unsafe fn biases(&self, p: usize) -> *const i32 {
        // SAFETY: the caller's promise.
        unsafe { self.panel(p).cast() }
    }

    /// The multipliers of panel `p`.
    ///
    /// # Safety
    /// The panel exists.
    #[inline(always)]
    pub unsafe fn multipliers(&self, p: usize) -> *const f32 {
        // SAFETY: the caller's promise.
        unsafe { self.panel(p).add(NR * 4).cast() }
    }

    /// Whether all outputs of `panels` panels are live.
    #[inline(always)]
    pub fn is_whole(&self, panels: usize) -> bool {
        self.pixel + 4 <= self.tile.live_pixels && self.channel + panels * NR <= self.tile.live_channels
    }

    /// Where the quad's first pixel and channel go.
    ///
    /// # Safety
    /// The tile's output begins at `out`.
    #[inline(always)]
    pub unsafe fn at<T>(&self, out: *mut T) -> *mut T {
        // SAFETY: pixel and channel are live.
        unsafe { out.add(self.pixel * self.tile.out_stride + self.channel) }
    }

    /// Copies what is live of `panels` panels to the tile's output, which begins at `out`.
    ///
    /// # Safety
    /// The tile's output has the type of `T`; `spare` has been written but for the panels beyond.
    #[inline(never)]
    pub unsafe fn copy<T: Copy>(&self, spare: &Spare<T>, panels: usize, out: *mut T) {
        let channels = (self.tile.live_channels - self.channel).min(panels * NR);
        for (m, pixel) in spare.iter().enumerate().take(self.tile.live_pixels - self.pixel) {
            // SAFETY: pixel and channel are live, and so are those copied.
            unsafe {
                let out = out.add((self.pixel + m) * self.tile.out_stride + self.channel);
                out.copy_from_nonoverlapping(pixel.as_ptr().cast(), channels);
            }
        }
    }

    /// The tile.
    #[inline(always)]
    pub fn tile(&self) -> &Tile {
        self.tile
    }
}
