//! A page: what the template `page.html` shows.

use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::NodeError;
use super::plot::{Axis, Frame, Plot};
use super::words;
use crate::Error;

/// A page.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Page {
    pub title: String,
    /// What was measured, on what.
    pub subtitle: String,
    /// What must not be missed: emulated, throttled, not steady.
    pub warnings: Vec<String>,
    /// The few numbers that matter most.
    pub tiles: Vec<Tile>,
    pub sections: Vec<Section>,
    /// How it was measured.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Tile {
    pub name: String,
    pub value: String,
    pub note: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Section {
    pub title: String,
    /// A sentence below the title.
    pub lead: String,
    pub blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Block {
    Plot(Plot),
    Bars(Bars),
    Table(Table),
    Samples { samples: Vec<Card>, names: [String; 2] },
}

/// Bars beside names.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Bars {
    pub rows: Vec<Bar>,
    /// What is said below them.
    pub caption: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Bar {
    pub name: String,
    /// The whole of a name that is cut, and what else there is to know.
    pub title: String,
    /// Length, in percent of the longest.
    pub percent: f64,
    pub value: String,
    /// In small letters below the name.
    pub note: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Table {
    /// Of the columns; the first is left, the others right.
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// A sample, and the outputs of both sides for it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Card {
    pub name: String,
    /// The picture, as a data URL.
    pub picture: Option<String>,
    pub note: String,
    /// Whether both rank another class first.
    pub differs: bool,
    pub values: Vec<CardValue>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct CardValue {
    pub name: String,
    /// Of the baseline and of the device.
    pub values: [String; 2],
    /// Lengths of their bars, in percent of the longest.
    pub percents: [f64; 2],
}

impl Section {
    pub fn new(title: &str, lead: impl Into<String>, blocks: Vec<Block>) -> Section {
        Section { title: title.into(), lead: lead.into(), blocks }
    }
}

impl Tile {
    pub fn new(name: &str, value: impl Into<String>, note: impl Into<String>) -> Tile {
        Tile { name: name.into(), value: value.into(), note: note.into() }
    }
}

const TEMPLATE: &str = include_str!("page.html");

/// The page as HTML. Every text is escaped: names of nodes and files come from outside.
pub(super) fn render(page: &Page) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let failed = |error: minijinja::Error| Error::Template { reason: format!("{error:#}") };
    environment.render_str(TEMPLATE, page).map_err(failed)
}

/// Nodes that are listed: those that cost most.
const NODES: usize = 16;

/// Where accuracy goes; `None` where it was not measured.
pub(super) fn error_section(nodes: &[NodeError]) -> Option<Section> {
    if nodes.is_empty() {
        return None;
    }
    let points: Vec<(f64, f64)> =
        nodes.iter().enumerate().map(|(index, node)| (index as f64, node.sqnr_db)).collect();
    let own: Vec<(f64, f64)> = nodes
        .iter()
        .enumerate()
        .filter_map(|(index, node)| Some((index as f64, node.own_sqnr_db?)))
        .collect();
    let all = || points.iter().chain(&own).map(|point| point.1);
    let highest = all().fold(0.0, f64::max);
    let lowest = all().fold(0.0, f64::min);
    let frame = Frame { x: Axis::new(0.0, (nodes.len() - 1) as f64), y: Axis::new(lowest, highest * 1.05) };
    let plot = Plot {
        label: "Ratio of signal to noise at each node".into(),
        x_name: "node, in the model's order".into(),
        y_name: "SQNR, dB".into(),
        caption: "Line: at the node's output, against the FP32 model. Dots: what its steps alone cost. Higher is better; \
                  6 dB are one bit."
            .into(),
        ..frame.plot(vec![frame.dots(&own), frame.line(&points, "line")])
    };
    let mut costly: Vec<&NodeError> = nodes.iter().filter(|node| node.share_percent > Some(0.0)).collect();
    costly.sort_by(|a, b| b.share_percent.unwrap_or(0.0).total_cmp(&a.share_percent.unwrap_or(0.0)));
    let largest = costly.first().and_then(|node| node.share_percent).unwrap_or(1.0);
    let bar = |node: &&NodeError| {
        let share = node.share_percent.unwrap_or(0.0);
        Bar {
            name: words::short(&node.node, 60),
            title: format!("{} ({})", node.node, node.op),
            percent: 100.0 * share / largest,
            value: format!("{share:.1} %"),
            note: format!(
                "{}, {}, alone {} dB, at its output {:.1} dB",
                node.op,
                node.precision,
                node.own_sqnr_db.map_or("-".into(), |db| format!("{db:.1}")),
                node.sqnr_db
            ),
        }
    };
    let rows = costly.iter().take(NODES).map(bar).collect();
    let caption = match costly.len() {
        ..=NODES => String::new(),
        all => format!("and {} nodes that cost less", all - NODES),
    };
    let mut blocks = vec![Block::Plot(plot)];
    if !costly.is_empty() {
        blocks.push(Block::Bars(Bars { rows, caption }));
    }
    let lead = "Measured on samples of the calibration when the package was made. Bars: each node's share of the noise \
                that steps alone make.";
    Some(Section::new("Error of each layer", lead, blocks))
}
