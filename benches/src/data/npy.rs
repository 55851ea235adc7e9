//! The header of a NumPy array file.
//!
//! The format: `\x93NUMPY`, version (2 bytes), header length (u16 in version 1, u32 in 2 and 3,
//! little-endian), then a Python dictionary literal
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, then the elements
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
//!
//! It is read here, and not by a crate, because a header is hostile until proved otherwise: nothing
//! is allocated or multiplied on its word.

use std::io::Read;

/// Headers of arrays of numbers are about a hundred bytes.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// What the header of an array says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The type of the elements, such as `|u1` or `<f4`.
    pub dtype: String,
    /// Whether the first dimension is the fastest one.
    pub fortran_order: bool,
    /// Sizes.
    pub shape: Vec<u64>,
}

/// Reads the header; `reader` is left at the first element. The error is a reason.
pub(super) fn read_header(reader: &mut impl Read) -> Result<Header, String> {
    let mut start = [0u8; 8];
    reader.read_exact(&mut start).map_err(|error| format!("not a NumPy array: {error}"))?;
    if &start[..6] != b"\x93NUMPY" {
        return Err("not a NumPy array: it does not start with \\x93NUMPY".into());
    }
    let truncated = |error| format!("its header is cut short: {error}");
    let length = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            reader.read_exact(&mut bytes).map_err(truncated)?;
            u32::from(u16::from_le_bytes(bytes))
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            reader.read_exact(&mut bytes).map_err(truncated)?;
            u32::from_le_bytes(bytes)
        }
        version => return Err(format!("version {version} of the NumPy format is not known")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("a header of {length} bytes; at most {MAX_HEADER_BYTES} are read"));
    }
    let mut text = vec![0; length as usize];
    reader.read_exact(&mut text).map_err(truncated)?;
    let text = std::str::from_utf8(&text).map_err(|_| "its header is not text".to_string())?;
    parse(text).ok_or_else(|| format!("its header is not understood: {}", text.trim()))
}

fn parse(text: &str) -> Option<Header> {
    let value = |key: &str| Some(text.split_once(&format!("'{key}':"))?.1.trim_start());
    let descr = value("descr")?;
    // A list of fields is shown whole, so that the error about its type names it.
    let dtype = match descr.strip_prefix('\'') {
        Some(rest) => rest.split_once('\'')?.0,
        None => descr.split_once(']')?.0,
    };
    let fortran_order = match value("fortran_order")? {
        order if order.starts_with("False") => false,
        order if order.starts_with("True") => true,
        _ => return None,
    };
    let (sizes, _) = value("shape")?.strip_prefix('(')?.split_once(')')?;
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = sizes.map(|size| size.trim_end_matches('L').parse().ok()).collect::<Option<Vec<u64>>>()?;
    Some(Header { dtype: dtype.to_string(), fortran_order, shape })
}

/// A version 1 file of the given elements.
#[cfg(test)]
pub(crate) fn file(dtype: &str, shape: &[u64], elements: &[u8]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let text = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({sizes}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(elements);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_numpy_is_read() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }          \n";
        let wanted = Header { dtype: "<f4".into(), fortran_order: false, shape: vec![3, 4] };
        assert_eq!(parse(text), Some(wanted));
        assert!(parse("{'descr': '|u1', 'fortran_order': True, 'shape': (), }").unwrap().shape.is_empty());
        let one = parse("{'descr': '|u1', 'fortran_order': True, 'shape': (7,), }").unwrap();
        assert_eq!((one.shape, one.fortran_order), (vec![7], true));
    }

    #[test]
    fn record_type_is_shown() {
        let text = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }";
        assert_eq!(parse(text).unwrap().dtype, "[('a', '<f4')");
    }

    #[test]
    fn truncated_header_is_an_error() {
        let whole = file("|u1", &[2, 2], &[]);
        assert!(read_header(&mut &whole[..]).is_ok());
        for length in 0..whole.len() {
            let error = read_header(&mut &whole[..length]).unwrap_err();
            assert!(error.contains("not a NumPy array") || error.contains("cut short"), "{error}");
        }
    }

    #[test]
    fn huge_header_is_refused_before_it_is_allocated() {
        let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
        bytes.extend(u32::MAX.to_le_bytes());
        assert!(read_header(&mut &bytes[..]).unwrap_err().contains("4294967295"));
    }
}
