//! `--report FILE.html`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use edgepack_engine::Model;
use edgepack_harness::report::NodeError;
use edgepack_packager::emit::provenance;
use edgepack_packager::node_map;

/// The report of a command.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ReportArgs {
    /// Write a report with plots: one HTML file that needs no network
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

impl ReportArgs {
    /// Whether one is wanted.
    pub fn is_wanted(&self) -> bool {
        self.report.is_some()
    }

    /// Tries whether it can be written: before what takes minutes, not after.
    pub fn check(&self) -> anyhow::Result<()> {
        self.report.as_deref().map_or(Ok(()), |path| self.unnamed(path).map(drop))
    }

    /// A file beside `path`, which goes unless it is given that name.
    fn unnamed(&self, path: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().permissions(permissions()).tempfile_in(folder);
        file.with_context(|| format!("--report {}", path.display()))
    }

    /// Writes the page that `html` gives for the nodes of `package`, where one is wanted.
    pub fn write(
        &self,
        package: &Path,
        html: impl FnOnce(&[NodeError]) -> Result<String, edgepack_harness::Error>,
    ) -> anyhow::Result<()> {
        let Some(path) = &self.report else { return Ok(()) };
        let page = html(&node_errors(package)?)?;
        // A report that is there is whole.
        let mut file = self.unnamed(path)?;
        file.write_all(page.as_bytes())
            .and_then(|()| file.persist(path).map_err(|error| error.error))
            .with_context(|| format!("--report {}", path.display()))?;
        Ok(())
    }
}

/// Those of any file that is written, less what the user's mask takes.
fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// What quantization costs each node, as the package records it.
fn node_errors(package: &Path) -> anyhow::Result<Vec<NodeError>> {
    let model = Model::open(package)?;
    let package = model.package();
    let Some(provenance) = provenance(&package) else { return Ok(Vec::new()) };
    let steps: Vec<_> = package
        .steps()
        .map(|step| node_map::StepFacts { name: step.name, scratch_bytes: step.scratch.bytes, op: step.op })
        .collect();
    let truth = node_map::truth(&provenance.nodes, &steps, edgepack_engine::isa::detect()?.set());
    let error = |node: node_map::NodeLine| {
        Some(NodeError {
            sqnr_db: node.sqnr_db.filter(|&db| db < node_map::MAX_DB)?.into(),
            // What costs nothing has no ratio that could be drawn.
            own_sqnr_db: node.own_sqnr_db.filter(|&db| db < node_map::MAX_DB).map(f64::from),
            share_percent: node.error_share_percent,
            node: node.node,
            op: node.op,
            precision: node.precision,
        })
    };
    Ok(truth.nodes.into_iter().filter_map(error).collect())
}
