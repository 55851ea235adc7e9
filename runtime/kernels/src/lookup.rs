//! Tables of 256 entries: every unary function of an int8 tensor, exact by construction. Entry
//! `i` is the result for the int8 value `i - 128`.

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64_neon;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
pub(crate) mod armv7_neon;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_avx512vbmi;

/// int8 to int8, or to f32 (which is also how an int8 tensor is dequantized).
pub fn lookup<T: Copy>(input: &[i8], table: &[T; 256], output: &mut [T]) {
    for (y, &x) in output.iter_mut().zip(input) {
        *y = table[index(x)];
    }
}

/// int8 to int8, over the input.
pub fn lookup_in_place(values: &mut [i8], table: &[i8; 256]) {
    for value in values {
        *value = table[index(*value)];
    }
}

#[inline(always)]
fn index(value: i8) -> usize {
    (value as u8 ^ 0x80) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_the_order_of_the_values() {
        let table: [i8; 256] = core::array::from_fn(|i| (i as i32 - 128) as i8);
        let mut values: [i8; 256] = core::array::from_fn(|i| i as i8);
        let before = values;
        lookup_in_place(&mut values, &table);
        assert_eq!(values, before);
        let floats: [f32; 256] = core::array::from_fn(|i| i as f32 - 128.0);
        let mut output = [0.0; 3];
        lookup(&[-128, 0, 127], &floats, &mut output);
        assert_eq!(output, [-128.0, 0.0, 127.0]);
    }
}
