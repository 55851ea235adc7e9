//! Pruned packages of the bundled model (residual, depthwise, squeeze and excite, concatenation): smaller, and
//! still the model.

use std::path::{Path, PathBuf};

use edgepack_harness::Preprocessing;
use edgepack_packager::error::PackError;
use edgepack_packager::pack::{CalibrationSource, PackOptions, PackReport, pack};
use edgepack_packager::prune::{Allocation, PruneOptions, Refit, Saliency, SparsityOptions};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits").join(name)
}

fn packed(pruning: PruneOptions, sparsity: SparsityOptions) -> Result<PackReport, PackError> {
    let folder = tempfile::tempdir().unwrap();
    let options = PackOptions {
        calibration_limit: 64,
        preprocessing: Preprocessing { mean: vec![127.5], std: vec![127.5], ..Default::default() },
        pruning,
        sparsity,
        l2_kib: 0,
        ..PackOptions::new(
            asset("model.onnx"),
            folder.path().join("digits.epk"),
            CalibrationSource::Data(asset("calibration.npz")),
        )
    };
    pack(&options, &mut ())
}

fn channels(share: f64, allocation: Allocation) -> PruneOptions {
    PruneOptions { channels: Some(share), allocation, refit: Refit::Layers, ..Default::default() }
}

#[test]
fn a_package_without_a_quarter_of_the_channels_is_smaller_and_runs() {
    let whole = packed(PruneOptions::default(), SparsityOptions::default()).unwrap();
    assert!(whole.pruned.is_none() && whole.sparse.is_none());
    for allocation in [Allocation::Sensitivity, Allocation::Uniform] {
        // The package has passed its own test when it is written.
        let report = packed(channels(0.25, allocation), SparsityOptions::default()).unwrap();
        let pruned = report.pruned.unwrap();
        println!("{allocation}: {pruned:?}");
        let [before, after] = pruned.channels;
        assert!((0.15..0.35).contains(&(1.0 - after as f64 / before as f64)), "{before} {after}");
        assert!(report.macs < whole.macs);
        assert!(pruned.parameters[1] < pruned.parameters[0]);
        let [removed, fitted] = [pruned.masked, pruned.fitted].map(|quality| quality.sqnr_db.unwrap());
        assert!(fitted > removed, "{removed} dB, then {fitted} dB");
        assert!(pruned.fitted.agreement.unwrap() > 0.75, "{:?}", pruned.fitted);
    }
}

#[test]
fn channels_that_are_kept_by_name_stay() {
    let name = "block2/expand/conv";
    let options = PruneOptions { nodes: vec![(name.into(), 0.0)], ..channels(0.3, Allocation::Uniform) };
    let pruned = packed(options, SparsityOptions::default()).unwrap().pruned.unwrap();
    let layer = pruned.layers.iter().find(|layer| layer.node == name).unwrap();
    assert_eq!(layer.channels[0], layer.channels[1]);
    assert!(pruned.channels[1] < pruned.channels[0]);
}

#[test]
fn half_of_the_weights_are_zero_in_int8_too_and_compress() {
    let sparsity = SparsityOptions { share: Some(0.5), saliency: Saliency::Reconstruction };
    let sparse = packed(PruneOptions::default(), sparsity).unwrap().sparse.unwrap();
    println!("{sparse:?}");
    let [dense, zeros] = sparse.compressed_bytes;
    assert!((zeros as f64) < 0.9 * dense as f64, "{zeros} of {dense} bytes");
    assert!(sparse.quality.agreement.unwrap() > 0.9, "{:?}", sparse.quality);
}

#[test]
fn a_node_that_is_not_there_is_named() {
    let mut options = channels(0.3, Allocation::Uniform);
    options.nodes = vec![("nothing".into(), 0.5)];
    let error = packed(options, SparsityOptions::default()).unwrap_err().to_string();
    assert!(error.contains("nothing") && error.contains("no node of the model"), "{error}");
}
