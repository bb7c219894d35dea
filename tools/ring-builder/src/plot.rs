//! `ring-builder B plot OUT.svg|png`: fill and dispersion of each region, zone, node and device,
//! before and after.
//!
//! *Before* is the ring file that is deployed, or `--before`; *after* is the builder, rebalanced in
//! memory when its devices changed. Fill is what a domain holds in percent of its share by weight.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use apus_ring::builder::place;
use apus_ring::builder::{BuilderDevice, RingBuilder, Tier};
use apus_ring::format::UncheckedRing;
use clap::Parser;
use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::{Value, json};

use super::devices::not_rebalanced;
use super::options::parse;
use super::output::CommandError;
use super::progress::Progress;
use super::session::{Session, put};
use super::{CommandResult, Exit, diff};

#[derive(Debug, Parser)]
#[command(no_binary_name = true, infer_long_args = true, args_override_self = true)]
struct Options {
    /// The picture to write: .svg or .png
    picture: PathBuf,
    /// A ring or builder file to compare with; the builder's own ring file without it
    #[arg(long)]
    before: Option<PathBuf>,
    /// The TrueType font; one of the system without it
    #[arg(long)]
    font: Option<PathBuf>,
}

const WIDTH: u32 = 1200;
/// Height of one chart.
const HEIGHT: u32 = 230;
const LEVELS: [&str; 4] = ["region", "zone", "node", "device"];
/// Where systems have fonts.
const FONTS: &str = "/usr/share/fonts";
/// Folders within that, at most.
const FONT_FOLDERS_MAX: usize = 1000;
const BEFORE: RGBColor = RGBColor(160, 160, 160);
const AFTER: RGBColor = RGBColor(31, 119, 180);

/// Fill and dispersion in percent.
type Figures = (f64, f64);

/// Figures of a placement by domain.
fn figures(builder: &RingBuilder) -> BTreeMap<Tier, Figures> {
    let mut held: BTreeMap<Tier, (f64, f64)> = BTreeMap::new();
    for known in builder.devices() {
        let target = builder.target_parts(known.device.weight);
        for tier in Tier::of(&known.device) {
            let (parts, share) = held.entry(tier).or_default();
            *parts += known.parts as f64;
            *share += target;
        }
    }
    let dispersion: BTreeMap<Tier, f64> =
        builder.dispersion_report().into_iter().map(|tier| (tier.tier, tier.dispersion)).collect();
    held.into_iter()
        .map(|(tier, (parts, share))| {
            let fill = if share > 0.0 { 100.0 * parts / share } else { 0.0 };
            let dispersion = dispersion.get(&tier).copied().unwrap_or(0.0);
            (tier, (fill, dispersion))
        })
        .collect()
}

/// A builder with the devices and assignments of a ring file.
fn builder_of(ring: UncheckedRing) -> Result<RingBuilder, CommandError> {
    let mut builder = RingBuilder::new(ring.part_power, ring.replica_count(), 0)?;
    let mut held: BTreeMap<u32, u64> = BTreeMap::new();
    for id in ring.rows.iter().flatten() {
        *held.entry(*id).or_default() += 1;
    }
    let known = |slot: Option<apus_ring::Device>| {
        slot.map(|device| BuilderDevice {
            parts: held.get(&device.id).copied().unwrap_or(0),
            parts_wanted: 0,
            device,
        })
    };
    builder.devices = ring.devices.into_iter().map(known).collect();
    builder.rows = ring.rows;
    builder.note_dispersion();
    Ok(builder)
}

/// One domain of a chart.
#[derive(Debug, Clone)]
struct Bar {
    name: String,
    before: Option<Figures>,
    after: Option<Figures>,
}

fn bars(before: Option<&RingBuilder>, after: &RingBuilder, level: usize) -> Vec<Bar> {
    let old = before.map(figures).unwrap_or_default();
    let new = figures(after);
    let mut all: BTreeMap<Tier, Bar> = BTreeMap::new();
    let mut add = |builder: &RingBuilder, figures: &BTreeMap<Tier, Figures>, is_old: bool| {
        for (tier, figures) in figures.iter().filter(|(tier, _)| tier.level() == level) {
            let name = builder.tier_name(tier);
            let bar = Bar { name, before: None, after: None };
            let bar = all.entry(tier.clone()).or_insert(bar);
            *(if is_old { &mut bar.before } else { &mut bar.after }) = Some(*figures);
        }
    };
    if let Some(before) = before {
        add(before, &old, true);
    }
    add(after, &new, false);
    all.into_values().collect()
}

/// The charts, one pair for each level.
struct Picture {
    title: String,
    levels: Vec<Vec<Bar>>,
}

impl Picture {
    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), CommandError> {
        let text = |error: DrawingAreaErrorKind<B::ErrorType>| {
            CommandError::from(format!("picture: {error}"))
        };
        root.fill(&WHITE).map_err(text)?;
        let root = root.titled(&self.title, ("sans-serif", 20)).map_err(text)?;
        let areas = root.split_evenly((self.levels.len() * 2, 1));
        for (at, area) in areas.iter().enumerate() {
            let Some(bars) = self.levels.get(at / 2) else { continue };
            let level = LEVELS.get(at / 2).copied().unwrap_or("tier");
            let is_fill = at % 2 == 0;
            let what = if is_fill { "% of the share by weight" } else { "% badly dispersed" };
            let pick = |figures: Option<Figures>| {
                figures.map(|(fill, dispersion)| if is_fill { fill } else { dispersion })
            };
            let pairs: Vec<(Option<f64>, Option<f64>)> =
                bars.iter().map(|bar| (pick(bar.before), pick(bar.after))).collect();
            chart(area, &format!("{what}, by {level}"), bars, &pairs).map_err(text)?;
        }
        root.present().map_err(text)
    }
}

fn chart<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    caption: &str,
    bars: &[Bar],
    pairs: &[(Option<f64>, Option<f64>)],
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let values = pairs.iter().flat_map(|(before, after)| [*before, *after]).flatten();
    let most = values.fold(1.0, f64::max) * 1.35;
    let count = bars.len().max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 14))
        .margin(6)
        .x_label_area_size(22)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..count, 0.0..most)?;
    let name = |at: &f64| {
        let bar = if at.fract() == 0.0 { bars.get(*at as usize) } else { None };
        bar.map(|bar| bar.name.clone()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(bars.len().min(24) + 1)
        .x_label_formatter(&name)
        .x_label_offset(i32::try_from(WIDTH / 2).unwrap_or(0) / count.max(1.0) as i32)
        .y_label_formatter(&|value| format!("{value:.0}"))
        .y_labels(5)
        .draw()?;
    for (series, (color, shift)) in [("before", (BEFORE, 0.1)), ("after", (AFTER, 0.5))] {
        let bar = |(at, pair): (usize, &(Option<f64>, Option<f64>))| {
            let value = if shift < 0.5 { pair.0 } else { pair.1 };
            let left = at as f64 + shift;
            value.map(|value| Rectangle::new([(left, 0.0), (left + 0.4, value)], color.filled()))
        };
        chart
            .draw_series(pairs.iter().enumerate().filter_map(bar))?
            .label(series)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 8, y + 4)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()
}

/// A font of the system: a plain sans-serif one if there is any.
fn system_font() -> Option<PathBuf> {
    let mut folders = vec![PathBuf::from(FONTS)];
    let mut found: Vec<PathBuf> = Vec::new();
    let mut seen = 0;
    while let Some(folder) = folders.pop().filter(|_| seen < FONT_FOLDERS_MAX) {
        seen += 1;
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() == Some(OsStr::new("ttf")) {
                found.push(path);
            }
        }
    }
    let rank = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let plain = ["DejaVuSans", "LiberationSans-Regular", "NotoSans-Regular"];
        (!plain.contains(&name.as_str()), !name.contains("Sans"), name)
    };
    found.into_iter().min_by_key(rank)
}

/// Registers the font by which text is measured, and drawn into .png.
fn use_font(given: Option<PathBuf>) -> Result<(), CommandError> {
    let path = given.or_else(system_font);
    let path = path.ok_or_else(|| format!("no TrueType font is in {FONTS}: use --font"))?;
    let font = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    // The library keeps fonts for the life of the process, which ends soon.
    let font: &'static [u8] = Vec::leak(font);
    plotters::style::register_font("sans-serif", FontStyle::Normal, font)
        .map_err(|_| format!("{}: not a TrueType font", path.display()).into())
}

fn svg(picture: &Picture, size: (u32, u32)) -> Result<Vec<u8>, CommandError> {
    let mut text = String::new();
    picture.draw(&SVGBackend::with_string(&mut text, size).into_drawing_area())?;
    Ok(text.into_bytes())
}

fn png(picture: &Picture, size: (u32, u32)) -> Result<Vec<u8>, CommandError> {
    let (width, height) = size;
    let mut pixels = vec![0; width as usize * height as usize * 3];
    picture.draw(&BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area())?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    writer.write_image_data(&pixels).map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(bytes)
}

pub(super) fn plot(session: &mut Session, arguments: &[String]) -> CommandResult {
    let options: Options = parse(arguments)?;
    let mut after = session.builder.clone();
    if after.devices_changed {
        let progress = Progress::spinner(&session.out, "placing partitions");
        let placed = place(&mut after, session.now_seconds, 0);
        progress.end();
        placed?;
        session.out.show("Devices changed: the picture shows the result of a rebalance.");
    } else {
        not_rebalanced(session)?;
        after.note_dispersion();
    }
    let before = match &options.before {
        Some(path) => Some(diff::read(path)?),
        None if session.names.ring.exists() => Some(diff::read(&session.names.ring)?),
        None => None,
    };
    let before = before.map(builder_of).transpose()?;
    let levels: Vec<Vec<Bar>> =
        (0..LEVELS.len()).map(|level| bars(before.as_ref(), &after, level)).collect();
    let title = session.names.builder.file_name().unwrap_or_default().to_string_lossy();
    let entries = json!(LEVELS.iter().zip(&levels).map(|(level, bars)| {
        let figures = |figures: Option<Figures>| {
            figures.map(|(fill, dispersion)| json!({ "fill": fill, "dispersion": dispersion }))
        };
        let bar = |bar: &Bar| {
            json!({ "name": bar.name, "before": figures(bar.before), "after": figures(bar.after) })
        };
        json!({ "level": level, "tiers": bars.iter().map(bar).collect::<Value>() })
    }).collect::<Vec<_>>());
    let picture = Picture { title: format!("{title}: fill and dispersion"), levels };
    let size = (WIDTH, 40 + HEIGHT * 2 * LEVELS.len() as u32);
    use_font(options.font)?;
    let bytes = match options.picture.extension().and_then(OsStr::to_str) {
        Some("svg") => svg(&picture, size)?,
        Some("png") => png(&picture, size)?,
        _ => {
            let path = options.picture.display();
            return Err(CommandError::Message(format!(
                "{path}: expected a name that ends with .svg or .png"
            )));
        }
    };
    put(&options.picture, &bytes)?;
    session.out.show(format!("Written to {}", options.picture.display()));
    session.out.set("picture", json!(options.picture));
    session.out.set("levels", entries);
    Ok(Exit::Success)
}
