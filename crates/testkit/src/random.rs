//! Random numbers with a taste for edges.

/// A source of random numbers: bytes given by a fuzzer as long as they last, then a generator
/// (SplitMix64) that they seed.
#[derive(Clone, Debug)]
pub struct Rng {
    bytes: Vec<u8>,
    at: usize,
    state: u64,
}

impl Rng {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Rng {
        Rng { bytes: Vec::new(), at: 0, state: seed }
    }

    /// A source that begins with `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Rng {
        let fold = |h: u64, &b: &u8| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        let state = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold);
        Rng { bytes: bytes.to_vec(), at: 0, state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        if let Some(chunk) = self.bytes.get(self.at..self.at + 8) {
            self.at += 8;
            return u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which are not none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// An integer that is often near an edge of some width.
    pub fn edge(&mut self) -> u64 {
        match self.below(8) {
            0 => self.bits(),
            1 => self.below(256) as u64,
            2 => (self.below(256) as u64).wrapping_neg(),
            3 | 4 => {
                let power = 1u64 << self.pick(&[0, 7, 8, 15, 16, 31, 32, 47, 63]);
                let near = power.wrapping_add(self.below(5) as u64).wrapping_sub(2);
                if self.chance(25) { near.wrapping_neg() } else { near }
            }
            5 => {
                // A run of ones anywhere.
                let ones = u64::MAX >> self.below(64);
                ones.rotate_left(self.below(64) as u32)
            }
            6 => {
                // The same bits in each lane of some width.
                let width = self.pick(&[8, 16, 32]);
                let lane = self.edge_of(width);
                (0..64 / width).fold(0, |v, i| v | lane << (i * width))
            }
            _ => self.bits() >> self.below(64),
        }
    }

    /// An integer of `bits` (below 64) that is often near an edge of that width.
    pub fn edge_of(&mut self, bits: u32) -> u64 {
        let mask = (1u64 << bits) - 1;
        match self.below(4) {
            0 => self.bits() & mask,
            1 => self.below(3) as u64,
            2 => mask - self.below(3) as u64,
            _ => {
                ((1 << (bits - 1)) as u64).wrapping_add(self.below(5) as u64).wrapping_sub(2) & mask
            }
        }
    }

    /// A binary32, often special or of a magnitude that makes rounding matter.
    pub fn single(&mut self) -> u32 {
        let sign = (self.bits() as u32) << 31;
        sign | match self.below(10) {
            0 => self.pick(&[0, 1, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff]),
            1 => self.pick(&[0x7f80_0000, 0x7f80_0001, 0x7fc0_0000, 0x7fff_ffff, 0x7fa5_5aa5]),
            2 => self.bits() as u32 >> 9,
            3 => (self.below(64) as f32).to_bits(),
            4 => (self.below(64) as f32 + 0.5).to_bits(),
            // Around the limits of the integer types.
            5 => {
                ((self.pick(&[15, 23, 24, 30, 31, 32, 62, 63, 64]) + 127) << 23)
                    | self.pick(&[0, 0, 1, 0x7f_ffff, 0x40_0000])
            }
            6 => self.bits() as u32 >> 1,
            _ => ((self.below(48) as u32 + 103) << 23) | self.bits() as u32 >> 9,
        }
    }

    /// A binary64, often special or of a magnitude that makes rounding matter.
    pub fn double(&mut self) -> u64 {
        let sign = self.bits() << 63;
        let fraction = |rng: &mut Rng| rng.bits() >> 12;
        sign | match self.below(10) {
            0 => self.pick(&[
                0,
                1,
                0x000f_ffff_ffff_ffff,
                0x0010_0000_0000_0000,
                0x7fef_ffff_ffff_ffff,
            ]),
            1 => self.pick(&[
                0x7ff0_0000_0000_0000,
                0x7ff0_0000_0000_0001,
                0x7ff8_0000_0000_0000,
                0x7fff_ffff_ffff_ffff,
                0x7ff4_5a5a_a5a5_5a5a,
            ]),
            2 => fraction(self),
            3 => (self.below(64) as f64).to_bits(),
            4 => (self.below(64) as f64 + 0.5).to_bits(),
            5 => {
                let exponent = self.pick(&[30, 31, 32, 51, 52, 53, 62, 63, 64, 127, 128]) + 1023;
                let fraction = self.pick(&[0, 0, 1, 0x000f_ffff_ffff_ffff, 0x0008_0000_0000_0000]);
                exponent << 52 | fraction
            }
            6 => self.bits() >> 1,
            // Near the range of binary32.
            7 => (self.below(300) as u64 + 870) << 52 | fraction(self),
            _ => (self.below(80) as u64 + 983) << 52 | fraction(self),
        }
    }

    /// An 80-bit x87 number in the low bits.
    pub fn extended(&mut self) -> u128 {
        let sign = u128::from(self.bits() & 1) << 79;
        let make =
            |exponent: u64, significand: u64| u128::from(exponent) << 64 | u128::from(significand);
        const ONE: u64 = 1 << 63;
        sign | match self.below(12) {
            0 => make(0, 0),
            1 => make(0x7fff, ONE),
            2 => {
                let payload = self.bits() >> 1;
                let nan = self.pick(&[1, 1 << 62, u64::MAX, payload, payload | 1 << 62]);
                make(0x7fff, ONE | nan)
            }
            3 => make(0, self.bits() >> 1),
            // Pseudo-denormals, unnormals, pseudo-infinities.
            4 => make(0, ONE | self.bits()),
            5 => make(self.below(0x7fff) as u64, self.bits() >> 1),
            6 => make(0x7fff, self.bits() >> self.pick(&[1, 63])),
            7 => make(self.pick(&[1, 2, 0x7ffd, 0x7ffe]), ONE | self.bits()),
            8 => {
                let value = self.below(1000) as u64 + 1;
                let shift = value.leading_zeros();
                make(u64::from(0x3fff + 63 - shift), value << shift)
            }
            9 => make(self.pick(&[14, 15, 30, 31, 62, 63, 64]) + 0x3fff, ONE | self.edge()),
            10 => make(self.below(0x7fff) as u64, ONE | self.bits()),
            _ => make(self.below(80) as u64 + 0x3fd7, ONE | self.bits()),
        }
    }

    /// 128 bits whose lanes of some shape are edges, or floats.
    pub fn vector(&mut self) -> u128 {
        match self.below(8) {
            0 => 0,
            1 => u128::from(self.bits()) << 64 | u128::from(self.bits()),
            2 | 3 => (0..4).fold(0, |v, _| v << 32 | u128::from(self.single())),
            4 | 5 => (0..2).fold(0, |v, _| v << 64 | u128::from(self.double())),
            6 => (0..2).fold(0, |v, _| v << 64 | u128::from(self.edge())),
            _ => {
                let width = self.pick(&[8, 16, 32]);
                (0..128 / width).fold(0, |v, _| v << width | u128::from(self.edge_of(width)))
            }
        }
    }
}
