//! The soak's file of looks as a picture: one panel a figure over a common axis of time, SVG.

use std::fmt::Write;

use crate::error::{Error, Result};
use crate::report::grouped;

const WIDTH: f64 = 960.0;
const PANEL_HEIGHT: f64 = 110.0;
/// Space for titles above each panel, for figures left of it, and below the last one.
const TOP: f64 = 34.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const BOTTOM: f64 = 44.0;

/// Looks whose median is a thick line's point: a minute.
const SMOOTHED: usize = 12;

/// Colours that people with any eyesight can tell apart (Okabe and Ito).
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// One figure: what it is called, its lines by column and name, and what a unit of it is in the file.
struct Panel {
    title: &'static str,
    lines: &'static [(&'static str, &'static str)],
    unit: f64,
}

const PANELS: [Panel; 6] = [
    Panel {
        title: "Disk, MB",
        lines: &[("disk_bytes", "all files"), ("journal_bytes", "journals")],
        unit: 1e6,
    },
    Panel { title: "Resident memory, MB", lines: &[("resident_bytes", "broker")], unit: 1e6 },
    Panel {
        title: "Handles and threads",
        lines: &[("handles", "files and sockets"), ("threads", "threads")],
        unit: 1.0,
    },
    Panel {
        title: "p99 from schedule to answer, ms",
        lines: &[
            ("send_p99_ms", "send"),
            ("receive_p99_ms", "receive"),
            ("delete_p99_ms", "delete"),
            ("delivery_p99_ms", "delivery to a long poll"),
        ],
        unit: 1.0,
    },
    Panel { title: "Messages stored", lines: &[("messages", "all queues")], unit: 1.0 },
    Panel { title: "CPU, % of a core", lines: &[("cpu_percent", "broker")], unit: 1.0 },
];

/// Draws the file that a soak wrote.
///
/// # Errors
/// The text is not such a file.
pub fn draw(csv: &str) -> Result<String> {
    let table = Table::read(csv)?;
    let minutes: Vec<f64> = table.column("seconds")?.iter().map(|seconds| seconds / 60.0).collect();
    let end = minutes.last().copied().unwrap_or(1.0);
    let height = PANELS.len() as f64 * (TOP + PANEL_HEIGHT) + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (number, panel) in PANELS.iter().enumerate() {
        let y = number as f64 * (TOP + PANEL_HEIGHT) + TOP;
        let columns: Result<Vec<Vec<f64>>> = panel
            .lines
            .iter()
            .map(|(column, _)| Ok(table.column(column)?.iter().map(|value| value / panel.unit).collect()))
            .collect();
        draw_panel(&mut svg, panel, y, &minutes, &columns?);
    }
    let bottom = height - BOTTOM;
    let step = step(end);
    for minute in (0..).map(|i| f64::from(i) * step).take_while(|minute| *minute <= end) {
        let x = LEFT + (WIDTH - LEFT - RIGHT) * minute / end;
        text(&mut svg, x, bottom + 16.0, "middle", "#555", &format!("{minute}"));
    }
    text(&mut svg, WIDTH / 2.0, bottom + 34.0, "middle", "#555", "minutes since the start");
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn draw_panel(svg: &mut String, panel: &Panel, y: f64, minutes: &[f64], columns: &[Vec<f64>]) {
    let smooth: Vec<Vec<f64>> = columns.iter().map(|column| medians(column)).collect();
    let highest = smooth.iter().flatten().copied().fold(0.0, f64::max).max(1e-9);
    let step = step(highest);
    let top = (highest * 1.05 / step).ceil() * step;
    let end = minutes.last().copied().unwrap_or(1.0);
    let width = WIDTH - LEFT - RIGHT;
    let at = |minute: f64, value: f64| {
        (LEFT + width * minute / end, y + PANEL_HEIGHT * (1.0 - (value / top).min(1.0)))
    };
    let heading =
        format!("<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>\n", y - 10.0, panel.title);
    svg.push_str(&heading);
    for value in (0..).map(|i| f64::from(i) * step).take_while(|value| *value <= top + step * 0.01) {
        let (_, line) = at(0.0, value);
        let place = format!("x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{line:.1}\" y2=\"{line:.1}\"", WIDTH - RIGHT);
        svg.push_str(&format!("<line {place} stroke=\"#ddd\"/>\n"));
        let figure = if step < 1.0 { format!("{value:.1}") } else { grouped(value) };
        text(svg, LEFT - 8.0, line + 4.0, "end", "#555", &figure);
    }
    let mut legend = WIDTH - RIGHT;
    for (number, ((_, name), (raw, smooth))) in
        panel.lines.iter().zip(columns.iter().zip(&smooth)).enumerate().rev()
    {
        let colour = COLOURS[number];
        for (values, style) in
            [(raw, "stroke-width=\"1\" opacity=\"0.25\""), (smooth, "stroke-width=\"1.8\"")]
        {
            let points: Vec<String> = minutes
                .iter()
                .zip(values)
                .map(|(minute, value)| at(*minute, *value))
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let points = points.join(" ");
            svg.push_str(&format!(
                "<polyline fill=\"none\" stroke=\"{colour}\" {style} points=\"{points}\"/>\n"
            ));
        }
        text(svg, legend, y - 10.0, "end", colour, name);
        legend -= 7.0 * name.len() as f64 + 16.0;
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, text: &str) {
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>")
        .expect("a string takes every write");
}

/// The distance of the marks of an axis up to `most`: 1, 2 or 5 times a power of ten, three to six of them.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / 5.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| most / step <= 6.0)
        .unwrap_or(most)
}

/// The median of the looks around each look.
fn medians(values: &[f64]) -> Vec<f64> {
    (0..values.len())
        .map(|at| {
            let from = at.saturating_sub(SMOOTHED / 2);
            let mut around = values[from..(at + SMOOTHED / 2).min(values.len())].to_vec();
            let middle = around.len() / 2;
            *around.select_nth_unstable_by(middle, f64::total_cmp).1
        })
        .collect()
}

struct Table {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Table {
    fn read(csv: &str) -> Result<Table> {
        let mut lines = csv.lines();
        let names: Vec<String> = lines.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        let rows: Option<Vec<Vec<f64>>> = lines
            .map(|line| line.split(',').map(|value| value.parse().ok()).collect::<Option<Vec<f64>>>())
            .map(|row| row.filter(|row| row.len() == names.len()))
            .collect();
        match rows {
            Some(rows) if rows.len() > 1 => Ok(Table { names, rows }),
            _ => {
                Err(Error::Usage("the file is not one that a soak wrote, or has fewer than two looks".into()))
            }
        }
    }

    fn column(&self, name: &str) -> Result<Vec<f64>> {
        let at = self.names.iter().position(|known| known == name);
        let at = at.ok_or_else(|| Error::Usage(format!("the file has no column {name}")))?;
        Ok(self.rows.iter().map(|row| row[at]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_few() {
        for (most, expected) in
            [(1.0, 0.2), (60.0, 10.0), (61.0, 20.0), (300.0, 50.0), (7.0, 2.0), (0.03, 0.005)]
        {
            assert!((step(most) - expected).abs() < 1e-12, "{most}: {}", step(most));
        }
    }

    #[test]
    fn every_line_is_in_the_picture() {
        let names: Vec<&str> =
            PANELS.iter().flat_map(|panel| panel.lines.iter().map(|(column, _)| *column)).collect();
        let mut csv = format!("seconds,{}\n", names.join(","));
        for second in [5, 10, 15] {
            let values: Vec<String> = names.iter().map(|_| format!("{}", second * 1000)).collect();
            csv.push_str(&format!("{second},{}\n", values.join(",")));
        }
        let svg = draw(&csv).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 2 * names.len());
        assert!(svg.contains(">delivery to a long poll</text>") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn other_files_are_refused() {
        for other in ["", "seconds\n1\n2", "a,b\n1,2\n3", "seconds,disk_bytes\n1,x\n2,3\n"] {
            assert!(draw(other).is_err(), "{other}");
        }
    }
}
