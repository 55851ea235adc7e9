//! What a user must know of a model that is packaged all the same.

use serde::{Deserialize, Serialize};

/// A node whose outputs are not quite what its operation's definition says, or cost more than they seem to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// The node.
    pub node: String,
    /// Its operation.
    pub op: String,
    /// What is so.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}; {}", self.node, self.op, self.message, self.remedy)
    }
}
