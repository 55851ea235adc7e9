//! The camera program prepares pictures as the packager does: what it sees on a device has the scores that `edgepack
//! run` and `compare` give for the same files.

use std::sync::atomic::AtomicBool;

use edgepack_camera::{Args, run};
use edgepack_harness::device::{Device, Local};
use edgepack_harness::{DataSet, PackageFacts, Preprocessing, Sample};
use edgepack_tests::{Case, digits};
use image::{Rgb, RgbImage};

/// Frames of several sizes and shapes with something to see at every scale.
fn frames(folder: &std::path::Path) {
    for (index, (width, height)) in
        [(64, 48), (48, 64), (31, 17), (16, 16), (300, 200)].into_iter().enumerate()
    {
        let pixel = |x: u32, y: u32| {
            let bump = |a: u32, b: u32, period: u32| ((a * 7 + b * 13) % period * 255 / period) as u8;
            Rgb([bump(x, y, 11 + index as u32), bump(y, x, 29), if x * 3 > width { 200 } else { 20 }])
        };
        RgbImage::from_fn(width, height, pixel).save(folder.join(format!("{index}.png"))).unwrap();
    }
}

#[test]
fn frames_have_the_scores_that_the_workstation_gives_them() {
    for (resize, crop) in
        [(Some("16x16"), None), (Some("20"), Some([16, 16])), (Some("18x22"), Some([16, 16]))]
    {
        let folder = tempfile::tempdir().unwrap();
        let resize = resize.map(|text| text.parse().unwrap());
        let preprocessing = Preprocessing { resize, crop, ..digits().preprocessing };
        let package = Case { preprocessing: preprocessing.clone(), ..digits() }.pack(folder.path()).package;
        let pictures = folder.path().join("frames");
        std::fs::create_dir(&pictures).unwrap();
        frames(&pictures);

        let facts = PackageFacts::read(&package).unwrap();
        let data = DataSet::open(&pictures, &facts.input, &preprocessing, None).unwrap();
        let samples: Vec<Sample> = data.iter().map(Result::unwrap).collect();
        let outcomes = Local::open(&package, 1, None).unwrap().run(&samples).unwrap();

        let line = ["--class", "3", "--votes", "1/1", "--json", "--frames"].map(Into::into);
        let words = [package.into_os_string()].into_iter().chain(line).chain([pictures.into_os_string()]);
        let args = Args::parse(words).unwrap().unwrap();
        let mut out = Vec::new();
        run(&args, &AtomicBool::new(false), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), samples.len());
        for ((line, sample), outcome) in lines.iter().zip(&samples).zip(&outcomes) {
            for one in line["top"].as_array().unwrap() {
                let (class, score) = (one[0].as_u64().unwrap(), one[1].as_f64().unwrap() as f32);
                let expected = outcome.values[0][class as usize];
                assert_eq!(score.to_bits(), expected.to_bits(), "{}: class {class}", sample.name);
            }
            assert_eq!(line["score"].as_f64().map(|score| score as f32), Some(outcome.values[0][3]));
        }
    }
}
