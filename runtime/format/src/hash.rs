//! BLAKE3: what sections, the header and golden outputs are hashed with.
//!
//! With an operating system this is the crate `blake3`, which has vectors. Without one it is the same function as a
//! few hundred bytes of code that cannot panic; the crate's would be 6 KB, and 2 KB of stack.

#[cfg(not(target_os = "none"))]
use blake3::Hasher as Inner;
#[cfg(target_os = "none")]
use small::Small as Inner;

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// A hash of bytes that are given piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Inner);

impl Hasher {
    /// Of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of these bytes behind those before.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The hash of what was given so far.
    #[cfg_attr(
        target_os = "none",
        expect(clippy::useless_conversion, reason = "that of the crate is a type of its own")
    )]
    pub fn finalize(&self) -> Hash {
        self.0.finalize().into()
    }
}

/// The hash of some bytes.
pub(crate) fn hash(bytes: &[u8]) -> Hash {
    Hasher::new().update(bytes).finalize()
}

/// O'Connor, Aumasson, Neves, Wilcox-O'Hearn, "BLAKE3: one function, fast everywhere" (2020), section 2: one chunk
/// after the other.
#[cfg(any(target_os = "none", test))]
mod small {
    const IV: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    const BLOCK_BYTES: usize = 64;
    const BLOCKS_OF_CHUNK: u8 = 16;
    const CHUNK_START: u32 = 1;
    const CHUNK_END: u32 = 2;
    const PARENT: u32 = 4;
    const ROOT: u32 = 8;
    /// Levels of the tree: enough for 2³² chunks of 1 KiB.
    const LEVELS: usize = 32;

    type Chain = [u32; 8];
    type Block = [u32; 16];

    /// What a node of the tree is compressed from.
    struct Node {
        chain: Chain,
        block: Block,
        counter: u64,
        block_bytes: u32,
        flags: u32,
    }

    impl Node {
        fn parent(left: Chain, right: Chain) -> Self {
            let mut block = [0; 16];
            block.iter_mut().zip(left.iter().chain(&right)).for_each(|(to, word)| *to = *word);
            Self { chain: IV, block, counter: 0, block_bytes: BLOCK_BYTES as u32, flags: PARENT }
        }

        /// The compression function (section 2.2), of which the first half of the output is wanted.
        #[inline(never)]
        fn compress(&self, more_flags: u32) -> Chain {
            let [c0, c1, c2, c3, c4, c5, c6, c7] = self.chain;
            let [i0, i1, i2, i3, ..] = IV;
            let (low, high) = (self.counter as u32, (self.counter >> 32) as u32);
            let flags = self.flags | more_flags;
            let mut v = [c0, c1, c2, c3, c4, c5, c6, c7, i0, i1, i2, i3, low, high, self.block_bytes, flags];
            let mut m = self.block;
            for _ in 0..7 {
                // A column, then a diagonal, four times each. The permutation of the message follows.
                mix(&mut v, [0, 4, 8, 12], m[0], m[1]);
                mix(&mut v, [1, 5, 9, 13], m[2], m[3]);
                mix(&mut v, [2, 6, 10, 14], m[4], m[5]);
                mix(&mut v, [3, 7, 11, 15], m[6], m[7]);
                mix(&mut v, [0, 5, 10, 15], m[8], m[9]);
                mix(&mut v, [1, 6, 11, 12], m[10], m[11]);
                mix(&mut v, [2, 7, 8, 13], m[12], m[13]);
                mix(&mut v, [3, 4, 9, 14], m[14], m[15]);
                m = [
                    m[2], m[6], m[3], m[10], m[7], m[0], m[4], m[13], m[1], m[11], m[12], m[5], m[9], m[14],
                    m[15], m[8],
                ];
            }
            let mut chain = [0; 8];
            let (low, high) = v.split_at(8);
            chain.iter_mut().zip(low).zip(high).for_each(|((to, a), b)| *to = a ^ b);
            chain
        }
    }

    /// The quarter-round of ChaCha with two words of the message. The places are constants wherever it is called.
    #[inline(always)]
    fn mix(v: &mut Block, [a, b, c, d]: [usize; 4], x: u32, y: u32) {
        v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
        v[d] = (v[d] ^ v[a]).rotate_right(16);
        v[c] = v[c].wrapping_add(v[d]);
        v[b] = (v[b] ^ v[c]).rotate_right(12);
        v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
        v[d] = (v[d] ^ v[a]).rotate_right(8);
        v[c] = v[c].wrapping_add(v[d]);
        v[b] = (v[b] ^ v[c]).rotate_right(7);
    }

    /// The state of a hash.
    #[derive(Clone, Debug)]
    pub struct Small {
        /// Of the chunk's blocks before.
        chain: Chain,
        block: [u8; BLOCK_BYTES],
        block_bytes: usize,
        /// Blocks of the chunk before.
        blocks: u8,
        /// Chunks before.
        chunks: u64,
        /// Roots of the whole subtrees of these chunks, the largest first: one for each bit of their number.
        subtrees: [Chain; LEVELS],
    }

    impl Default for Small {
        fn default() -> Self {
            Self {
                chain: IV,
                block: [0; BLOCK_BYTES],
                block_bytes: 0,
                blocks: 0,
                chunks: 0,
                subtrees: [[0; 8]; LEVELS],
            }
        }
    }

    impl Small {
        pub fn update(&mut self, mut bytes: &[u8]) {
            while !bytes.is_empty() {
                // A block that is full is compressed when there is more: the last one is compressed differently.
                if self.block_bytes >= BLOCK_BYTES {
                    self.next_block();
                }
                let room = self.block.get_mut(self.block_bytes..).unwrap_or(&mut []);
                let count = room.len().min(bytes.len());
                room.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
                self.block_bytes += count;
                bytes = bytes.get(count..).unwrap_or(&[]);
            }
        }

        fn next_block(&mut self) {
            if self.blocks + 1 < BLOCKS_OF_CHUNK {
                self.chain = self.node().compress(0);
                self.blocks += 1;
            } else {
                let mut root = self.node().compress(CHUNK_END);
                self.chunks += 1;
                // Subtrees of the same size join, as a carry goes through the bits of a sum.
                let mut above = self.chunks.count_ones() as usize + self.chunks.trailing_zeros() as usize - 1;
                for _ in 0..self.chunks.trailing_zeros() {
                    above = above.saturating_sub(1);
                    let left = self.subtrees.get(above).copied().unwrap_or_default();
                    root = Node::parent(left, root).compress(0);
                }
                if let Some(place) = self.subtrees.get_mut(above) {
                    *place = root;
                }
                (self.chain, self.blocks) = (IV, 0);
            }
            (self.block, self.block_bytes) = ([0; BLOCK_BYTES], 0);
        }

        /// The last block of the chunk.
        fn node(&self) -> Node {
            let mut block = [0; 16];
            let (words, _) = self.block.as_chunks();
            block.iter_mut().zip(words).for_each(|(to, &word)| *to = u32::from_le_bytes(word));
            Node {
                chain: self.chain,
                block,
                counter: self.chunks,
                block_bytes: self.block_bytes as u32,
                flags: if self.blocks == 0 { CHUNK_START } else { 0 },
            }
        }

        pub fn finalize(&self) -> [u8; 32] {
            let mut node = self.node();
            node.flags |= CHUNK_END;
            let above = self.chunks.count_ones() as usize;
            for &left in self.subtrees.iter().take(above).rev() {
                node = Node::parent(left, node.compress(0));
            }
            let mut hash = [0; 32];
            let (words, _) = hash.as_chunks_mut();
            words.iter_mut().zip(node.compress(ROOT)).for_each(|(to, word)| *to = word.to_le_bytes());
            hash
        }
    }

    #[cfg(test)]
    mod tests {
        use super::Small;
        use crate::golden::SeededBytes;
        use std::vec::Vec;

        /// Every number of chunks up to 40, and the bytes around each of them and around blocks.
        #[test]
        fn it_is_the_function_of_the_crate_around_every_block_and_chunk() {
            let bytes: Vec<u8> = SeededBytes::new(3).take(40 * 1024 + 70).collect();
            let chunks =
                (0..=40).flat_map(|chunks| [0, 1, 63, 64, 65, 1023].map(|more| 1024 * chunks + more));
            for len in chunks.chain(0..200).filter(|&len| len <= bytes.len()) {
                let mut small = Small::default();
                small.update(&bytes[..len]);
                assert_eq!(small.finalize(), *blake3::hash(&bytes[..len]).as_bytes(), "{len} bytes");
            }
        }

        #[test]
        fn pieces_of_any_length_make_the_same_hash() {
            let bytes: Vec<u8> = SeededBytes::new(4).take(9000).collect();
            for piece in [1, 3, 63, 64, 65, 1000, 1024, 1025, 4096] {
                let mut small = Small::default();
                for (index, part) in bytes.chunks(piece).enumerate() {
                    small.update(part);
                    if index % 50 == 0 {
                        let before = &bytes[..(index * piece + part.len())];
                        assert_eq!(small.finalize(), *blake3::hash(before).as_bytes(), "pieces of {piece}");
                    }
                }
                assert_eq!(small.finalize(), *blake3::hash(&bytes).as_bytes(), "pieces of {piece}");
            }
        }
    }
}
