//! Initializers: data that is not there, that nothing reads, or that is there twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use tract_onnx::pb;

use super::{Finding, Severity, Subject, constants};

/// Copies of less than this are not worth a word.
const LEAST_BYTES: usize = 1024;

pub(super) fn external_data(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for tensor in &subject.graph.initializer {
        if let Some(location) = constants::external_file(tensor)
            && !directory(subject).join(location).is_file()
        {
            missing.entry(location).or_default().push(tensor.name.clone());
        }
    }
    for (location, names) in missing {
        findings.push(Finding {
            severity: Severity::Error,
            rule: "external-data",
            kind: "initializer",
            names,
            op: None,
            message: format!("keeps its data in `{location}`, which is not beside the model"),
            remedy: "put the file beside the model, or save the model as one file: onnx.save(onnx.load(FILE), NEW)"
                .into(),
        });
    }
}

/// The folder that files of external data lie in.
pub(super) fn directory<'a>(subject: &'a Subject<'_>) -> &'a Path {
    subject.file.path.parent().unwrap_or(Path::new(""))
}

pub(super) fn unused(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let mut used: HashSet<&str> = subject.graph.output.iter().map(|output| output.name.as_str()).collect();
    names_in(subject.graph, &mut used);
    let unused = || subject.graph.initializer.iter().filter(|tensor| !used.contains(tensor.name.as_str()));
    let bytes: usize = unused().map(size).sum();
    if unused().next().is_some() {
        findings.push(Finding {
            severity: Severity::Note,
            rule: "unused-initializer",
            kind: "initializer",
            names: unused().map(|tensor| tensor.name.clone()).collect(),
            op: None,
            message: format!("nothing reads it ({bytes} bytes in all); it is left out"),
            remedy: subject.exporter.clean_up().into(),
        });
    }
}

/// What nodes read, those of bodies of If, Loop and Scan too.
fn names_in<'a>(graph: &'a pb::GraphProto, used: &mut HashSet<&'a str>) {
    for node in &graph.node {
        used.extend(node.input.iter().map(String::as_str));
        for attribute in &node.attribute {
            for body in attribute.g.iter().chain(&attribute.graphs) {
                used.extend(body.output.iter().map(|output| output.name.as_str()));
                names_in(body, used);
            }
        }
    }
}

/// Bytes of an initializer's data, where it is in the file.
fn size(tensor: &pb::TensorProto) -> usize {
    tensor.raw_data.len()
        + 4 * (tensor.float_data.len() + tensor.int32_data.len())
        + 8 * (tensor.int64_data.len() + tensor.double_data.len())
}

/// Whether all elements are the same: biases of 0 are alike without being copies.
fn is_even(tensor: &pb::TensorProto) -> bool {
    let words = tensor.raw_data.chunks(4);
    words.clone().all(|word| word == &tensor.raw_data[..word.len()])
        && tensor.float_data.iter().all(|x| x.to_bits() == tensor.float_data[0].to_bits())
}

pub(super) fn duplicates(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let mut groups: HashMap<[u8; 32], Vec<&pb::TensorProto>> = HashMap::new();
    let is_large = |tensor: &&pb::TensorProto| size(tensor) >= LEAST_BYTES && !is_even(tensor);
    for tensor in subject.graph.initializer.iter().filter(is_large) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{:?} {}", tensor.dims, tensor.data_type).as_bytes());
        hasher.update(&tensor.raw_data);
        tensor.float_data.iter().for_each(|x| {
            hasher.update(&x.to_le_bytes());
        });
        tensor.double_data.iter().for_each(|x| {
            hasher.update(&x.to_le_bytes());
        });
        tensor.int32_data.iter().for_each(|x| {
            hasher.update(&x.to_le_bytes());
        });
        tensor.int64_data.iter().for_each(|x| {
            hasher.update(&x.to_le_bytes());
        });
        groups.entry(*hasher.finalize().as_bytes()).or_default().push(tensor);
    }
    let mut groups: Vec<Vec<&pb::TensorProto>> =
        groups.into_values().filter(|group| group.len() > 1).collect();
    // In the order of the file: a hash map has none.
    groups.sort_by_key(|group| {
        subject.graph.initializer.iter().position(|tensor| std::ptr::eq(tensor, group[0]))
    });
    for group in groups {
        findings.push(Finding {
            severity: Severity::Note,
            rule: "duplicate-initializer",
            kind: "initializer",
            names: group.iter().map(|tensor| tensor.name.clone()).collect(),
            op: None,
            message: format!(
                "are the same {} bytes {} times; the package keeps equal constants once",
                size(group[0]),
                group.len()
            ),
            remedy: format!(
                "where they were meant to be shared, tie them in the model; or {}",
                subject.exporter.clean_up()
            ),
        });
    }
}
