//! Attributes of an ONNX node, with their defaults.

use tract_onnx::pb;

/// The attributes of one node.
pub(super) struct Attributes<'a>(&'a [pb::AttributeProto]);

impl<'a> Attributes<'a> {
    pub fn new(node: &'a pb::NodeProto) -> Self {
        Self(&node.attribute)
    }

    fn find(&self, name: &str) -> Option<&'a pb::AttributeProto> {
        self.0.iter().find(|attribute| attribute.name == name)
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |attribute| attribute.i)
    }

    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).map_or(default, |attribute| attribute.f)
    }

    pub fn optional_float(&self, name: &str) -> Option<f32> {
        self.find(name).map(|attribute| attribute.f)
    }

    pub fn find_floats(&self, name: &str) -> Option<&'a [f32]> {
        self.find(name).map(|attribute| &attribute.floats[..])
    }

    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|attribute| &attribute.ints[..])
    }

    /// A sub-graph.
    pub fn graph(&self, name: &str) -> Option<&'a pb::GraphProto> {
        self.find(name).and_then(|attribute| attribute.g.as_ref())
    }

    /// A string; `default` where it is missing or no UTF-8.
    pub fn string(&self, name: &str, default: &'a str) -> &'a str {
        self.find(name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok()).unwrap_or(default)
    }

    /// A list of strings; what is no UTF-8 is empty.
    pub fn strings(&self, name: &str) -> Option<Vec<&'a str>> {
        let text = |bytes: &'a Vec<u8>| std::str::from_utf8(bytes).unwrap_or_default();
        self.find(name).map(|attribute| attribute.strings.iter().map(text).collect())
    }
}
