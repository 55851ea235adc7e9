use std::fs;
use std::io::Write;

use super::npy::file;
use super::*;
use crate::Channels;

fn input(dims: &[usize]) -> InputSpec {
    InputSpec { name: "input".into(), dims: dims.to_vec(), limits: None }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn npz(&self, arrays: &[(&str, Vec<u8>)]) -> PathBuf {
        let path = self.0.path().join("data.npz");
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        for (name, bytes) in arrays {
            zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    /// An image whose pixel at (row, column) is (row, column, 200).
    fn image(&self, name: &str, height: u32, width: u32) -> PathBuf {
        let path = self.0.path().join(name);
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([y as u8, x as u8, 200]))
            .save(&path)
            .unwrap();
        path
    }
}

#[track_caller]
fn fails(path: &Path, dims: &[usize], parts: &[&str]) {
    let opened = DataSet::open(path, &input(dims), &Preprocessing::default(), None);
    let error = opened.and_then(|data| data.iter().collect::<Result<Vec<_>, _>>()).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn channel_axis_is_one_or_three_before_two_or_four() {
    let layout =
        |dims: &[usize]| ImageLayout::of(dims).map(|l| (l.height, l.width, l.channels, l.channels_first));
    assert_eq!(layout(&[1, 3, 224, 200]), Some((224, 200, 3, true)));
    assert_eq!(layout(&[1, 32, 30, 3]), Some((32, 30, 3, false)));
    assert_eq!(layout(&[1, 49, 10, 1]), Some((49, 10, 1, false)));
    assert_eq!(layout(&[1, 1, 28, 28]), Some((28, 28, 1, true)));
    assert_eq!(layout(&[1, 4, 32, 3]), Some((4, 32, 3, false)));
    assert_eq!(layout(&[1, 4, 32, 32]), Some((32, 32, 4, true)));
    assert_eq!(layout(&[1, 16, 32, 32]), None);
    assert_eq!(layout(&[2, 3, 32, 32]), None);
    assert_eq!(layout(&[1, 10]), None);
}

#[test]
fn pixels_in_either_layout_become_the_models() {
    let folder = Folder::new();
    // Two pixels: (1, 2, 3) and (4, 5, 6).
    let hwc = folder.file("hwc.npy", &file("|u1", &[1, 1, 2, 3], &[1, 2, 3, 4, 5, 6]));
    let chw = folder.file("chw.npy", &file("|u1", &[1, 3, 1, 2], &[1, 4, 2, 5, 3, 6]));
    let preprocessing = Preprocessing {
        mean: vec![1.0, 2.0, 3.0],
        std: vec![2.0],
        channels: Channels::Bgr,
        ..Default::default()
    };
    for path in [hwc, chw] {
        let data = DataSet::open(&path, &input(&[1, 3, 1, 2]), &preprocessing, None).unwrap();
        let sample = data.get(0).unwrap();
        assert_eq!(sample.pixels.as_deref(), Some(&[1, 2, 3, 4, 5, 6][..]));
        // Blue (3, 6) - 1, green (2, 5) - 2, red (1, 4) - 3; all / 2.
        assert_eq!(sample.values, [1.0, 2.5, 0.0, 1.5, -1.0, 0.5]);
        assert_eq!(sample.label, None);
    }
}

#[test]
fn floats_are_what_the_model_takes() {
    let folder = Folder::new();
    let wide: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
    let preprocessing = Preprocessing { mean: vec![9.0], ..Default::default() };
    for (dtype, bytes, values) in [
        ("<f4", floats(&[1.5, -2.0]), [1.5, -2.0]),
        (">f8", wide, [1.5, -2.0]),
        ("|i1", vec![0x80, 5], [-128.0, 5.0]),
    ] {
        let path = folder.file("x.npy", &file(dtype, &[2, 1], &bytes));
        let data = DataSet::open(&path, &input(&[1, 1]), &preprocessing, None).unwrap();
        let samples: Vec<Sample> = data.iter().map(Result::unwrap).collect();
        assert_eq!([samples[0].values[0], samples[1].values[0]], values);
        assert!(samples[0].pixels.is_none() && !data.is_pixels());
    }
}

#[test]
fn npz_gives_samples_labels_and_named_arrays() {
    let folder = Folder::new();
    let labels = |values: &[i64]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        file("<i8", &[values.len() as u64], &bytes)
    };
    let path = folder.npz(&[
        ("x", file("<f4", &[3, 1], &floats(&[1.0, 2.0, 3.0]))),
        ("y", labels(&[7, 8, 9])),
        ("eval_x", file("<f4", &[1, 1], &floats(&[4.0]))),
        ("eval_y", labels(&[5])),
    ]);
    let open = |path: &Path, limit| DataSet::open(path, &input(&[1, 1]), &Preprocessing::default(), limit);
    let data = open(&path, Some(2)).unwrap();
    assert_eq!((data.len(), data.has_labels()), (2, true));
    assert_eq!((data.get(1).unwrap().label, data.get(1).unwrap().values), (Some(8), vec![2.0]));
    assert!(data.get(2).is_err());
    let (one, pick) = (input(&[1, 1]), Pick::Spread(2));
    let spread = DataSet::open(&path, &one, &Preprocessing::default(), pick).unwrap();
    let seen: Vec<_> =
        spread.iter().map(|sample| sample.unwrap()).map(|s| (s.name, s.label, s.values)).collect();
    assert_eq!(seen, [("x[0]".into(), Some(7), vec![1.0]), ("x[1]".into(), Some(8), vec![2.0])]);
    let last = file("<f4", &[5, 1], &floats(&[1.0, 2.0, 3.0, 4.0, f32::NAN]));
    let last = folder.file("last.npy", &last);
    let open_last = |pick| DataSet::open(&last, &one, &Preprocessing::default(), pick);
    let second = open_last(Pick::Spread(2)).unwrap().get(1).unwrap();
    assert_eq!((second.name.as_str(), second.values), ("last[2]", vec![3.0]));
    assert!(open_last(Pick::Spread(5)).unwrap_err().to_string().contains("sample 4"));
    let named = PathBuf::from(format!("{}:eval_x", path.display()));
    assert_eq!(open(&named, None).unwrap().get(0).unwrap().label, Some(5));
    let missing = PathBuf::from(format!("{}:train_x", path.display()));
    fails(&missing, &[1, 1], &["no array `train_x`", "eval_x"]);

    let only = folder.npz(&[("images", file("<f4", &[1, 1], &floats(&[4.0])))]);
    assert_eq!(open(&only, None).unwrap().get(0).unwrap().name, "images[0]");
    let x = file("<f4", &[3, 1], &floats(&[1.0, 2.0, 3.0]));
    fails(&folder.npz(&[("x", x.clone()), ("y", labels(&[7]))]), &[1, 1], &["y:", "[1]", "3 samples"]);
    fails(&folder.npz(&[("x", x.clone()), ("y", labels(&[0, -1, 2]))]), &[1, 1], &["label of sample 1"]);
    fails(&folder.npz(&[("x", x.clone()), ("y", x)]), &[1, 1], &["y:", "<f4", "int64"]);
    fails(&folder.npz(&[("a", vec![]), ("b", vec![])]), &[1, 1], &["no array `x`", "\"a\"", "\"b\""]);
}

#[test]
fn unusable_array_names_the_file_and_the_reason() {
    let folder = Folder::new();
    let check = |bytes: Vec<u8>, dims: &[usize], parts: &[&str]| {
        let path = folder.file("x.npy", &bytes);
        fails(&path, dims, parts);
        fails(&path, dims, &["x.npy"]);
    };
    let zeros = vec![0; 4 * 12];
    check(file("<f4", &[1, 2, 2, 3], &zeros), &[1, 3, 2, 2], &["[1, 2, 2, 3]", "`input`", "[N, 3, 2, 2]"]);
    check(file("|u1", &[1, 2, 9], &zeros), &[1, 3, 2, 2], &["[N, 3, 2, 2] or [N, 2, 2, 3]"]);
    check(file("<i4", &[1, 3, 2, 2], &zeros), &[1, 3, 2, 2], &["<i4", "astype"]);
    check(file("|O", &[1, 3, 2, 2], &zeros), &[1, 3, 2, 2], &["|O", "astype"]);
    check(file("<f4", &[0, 3], &[]), &[1, 3], &["no samples"]);
    check(file("<f4", &[], &[0; 4]), &[1, 3], &["[]", "[N, 3]"]);
    check(file("<f4", &[2, 3], &zeros[..23]), &[1, 3], &["23 bytes", "24", "cut short"]);
    check(file("<f4", &[u64::MAX, 3], &zeros), &[1, 3], &["more elements"]);
    check(file("<f4", &[2, 1], &floats(&[0.0, f32::NAN])), &[1, 1], &["sample 1", "NaN"]);
    check(file("<f4", &[2, 1], &floats(&[f32::INFINITY, 0.0])), &[1, 1], &["sample 0", "inf"]);
    check(file("<f8", &[1, 1], &1e300f64.to_le_bytes()), &[1, 1], &["sample 0", "inf"]);
    check(b"not an array".to_vec(), &[1, 3], &["not a NumPy array"]);
    check(vec![], &[1, 3], &["not a NumPy array"]);
    let fortran = file("<f4", &[1, 3], &zeros[..12]);
    let fortran =
        String::from_utf8(fortran.iter().map(|b| b & 127).collect()).unwrap().replace("False", "True ");
    let fortran: Vec<u8> = [0x93].into_iter().chain(fortran.bytes().skip(1)).collect();
    check(fortran, &[1, 3], &["ascontiguousarray"]);
    fails(&folder.file("x.npz", b"PK"), &[1, 3], &["x.npz", "not an .npz"]);
    fails(&folder.file("x.txt", b""), &[1, 3], &["x.txt", "not a data set"]);
    fails(Path::new("/nowhere/x.npy"), &[1, 3], &["/nowhere/x.npy"]);
}

#[test]
fn input_that_is_no_image_takes_samples_of_its_shape() {
    let folder = Folder::new();
    let path = folder.file("x.npy", &file("<f4", &[1, 2, 3], &floats(&[1., 2., 3., 4., 5., 6.])));
    for dims in [&[1, 2, 3][..], &[2, 3]] {
        let data = DataSet::open(&path, &input(dims), &Preprocessing::default(), None).unwrap();
        assert_eq!(data.get(0).unwrap().values, [1., 2., 3., 4., 5., 6.]);
    }
    let path = folder.file("u.npy", &file("|u1", &[1, 2], &[4, 6]));
    let half = Preprocessing { std: vec![2.0], ..Default::default() };
    let sample = DataSet::open(&path, &input(&[1, 2]), &half, None).unwrap().get(0).unwrap();
    assert_eq!((sample.values, sample.pixels), (vec![2.0, 3.0], Some(vec![4, 6])));
}

#[test]
fn folder_gives_images_by_name_with_their_labels() {
    let folder = Folder::new();
    folder.image("b.png", 2, 3);
    folder.image("a.bmp", 2, 3);
    folder.file("notes.txt", b"");
    let open = || DataSet::open(folder.0.path(), &input(&[1, 2, 3, 3]), &Preprocessing::default(), None);
    assert!(!open().unwrap().has_labels());
    let csv = folder.file("labels.csv", b"\xef\xbb\xbffile,label\r\nb.png,4\r\n");
    let data = open().unwrap();
    let samples: Vec<Sample> = data.iter().map(Result::unwrap).collect();
    let seen: Vec<_> = samples.iter().map(|s| (s.name.as_str(), s.label)).collect();
    assert_eq!(seen, [("a.bmp", None), ("b.png", Some(4))]);
    assert_eq!(samples[0].pixels.as_ref().unwrap()[..6], [0, 0, 200, 0, 1, 200]);
    let listed = DataSet::open(&csv, &input(&[1, 2, 3, 3]), &Preprocessing::default(), None).unwrap();
    assert_eq!((listed.len(), listed.get(0).unwrap().label), (1, Some(4)));

    let wrong =
        |text: &str, parts: &[&str]| fails(&folder.file("labels.csv", text.as_bytes()), &[1, 2, 3, 3], parts);
    wrong("b.png,cat\n", &["labels.csv:1", "`cat`", "not a number"]);
    wrong("file,label\nc.png,1\n", &["labels.csv:2", "no file", "c.png"]);
    wrong("b.png\n", &["labels.csv:1", "file,label"]);
    wrong("file,label\n", &["no samples"]);
    fails(folder.0.path(), &[1, 10], &["not [1, C, H, W]"]);
    fails(Folder::new().0.path(), &[1, 2, 3, 3], &["no samples"]);
    let torn = Folder::new();
    torn.file("x.jpg", b"\xff\xd8\xff");
    fails(torn.0.path(), &[1, 2, 3, 3], &["x.jpg", "cannot decode"]);
}

#[test]
fn image_is_resized_and_cropped_in_the_middle() {
    let folder = Folder::new();
    let path = folder.image("a.png", 5, 8);
    let open = |preprocessing: Preprocessing| {
        DataSet::open(&path, &input(&[1, 2, 3, 3]), &preprocessing, None).unwrap().get(0)
    };
    let error = open(Preprocessing::default()).unwrap_err().to_string();
    assert!(error.contains("a.png: 5x8") && error.contains("--resize 2x3, or --crop 2x3"), "{error}");
    // floor((5 - 2) / 2) = 1 and floor((8 - 3) / 2) = 2.
    let cropped = open(Preprocessing { crop: Some([2, 3]), ..Default::default() }).unwrap();
    assert_eq!(cropped.pixels.unwrap()[..6], [1, 2, 200, 1, 3, 200]);
    let exact = Preprocessing { resize: Some("2x3".parse().unwrap()), ..Default::default() };
    assert_eq!(open(exact).unwrap().values.len(), 18);
    // The shorter side becomes 2, the longer one floor(8 * 2 / 5) = 3.
    let shorter = Preprocessing { resize: Some("2".parse().unwrap()), ..Default::default() };
    assert_eq!(open(shorter).unwrap().values.len(), 18);
    let error = open(Preprocessing { crop: Some([6, 3]), ..Default::default() }).unwrap_err().to_string();
    assert!(error.contains("a.png: 5x8") && error.contains("6x3"), "{error}");
}

#[test]
fn random_data_has_the_models_shape() {
    let data = DataSet::random(&input(&[1, 2, 3]), 7, 4);
    assert_eq!((data.len(), data.get(3).unwrap().values.len()), (4, 6));
    assert_ne!(data.get(0).unwrap().values, data.get(1).unwrap().values);
}
