//! Charts as SVG, drawn here: nothing is loaded for them, and they are there without
//! JavaScript.
//!
//! They are drawn on a grid that stretches to the width it gets. So no text stands in
//! them; what the axes say stands beside, as HTML.

use std::fmt::Write as _;

/// Units of the grid, from left to right and from top to bottom.
pub(crate) const WIDTH: u32 = 960;
pub(crate) const HEIGHT: u32 = 160;

/// One column of stacked bars.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// When, for people.
    pub(crate) when: String,
    /// From the lowest to the highest.
    pub(crate) parts: Vec<u64>,
}

/// Columns of stacked bars.
#[derive(Debug)]
pub(crate) struct Bars {
    /// A round number that no column exceeds.
    pub(crate) most: u64,
    pub(crate) columns: Vec<Drawn>,
}

/// A column that has something.
#[derive(Debug)]
pub(crate) struct Drawn {
    /// For whoever points at it.
    pub(crate) title: String,
    pub(crate) rects: Vec<Rect>,
}

/// A bar.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Rect {
    /// Of the stylesheet.
    pub(crate) class: &'static str,
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) width: String,
    pub(crate) height: String,
}

impl Bars {
    /// Draws columns whose parts have these names and classes.
    pub(crate) fn of(columns: &[Column], parts: &[(&str, &'static str)]) -> Self {
        let sum = |column: &Column| column.parts.iter().sum::<u64>();
        let most = round_up(columns.iter().map(sum).max().unwrap_or(0));
        let step = f64::from(WIDTH) / columns.len().max(1) as f64;
        // A gap that is seen between few, and does not eat up many.
        let gap = (step * 0.2).min(4.0);
        let drawn = columns.iter().enumerate().filter(|(_, column)| sum(column) > 0);
        let columns = drawn.map(|(place, column)| {
            let mut title = column.when.clone();
            let mut rects = Vec::new();
            let mut below = 0;
            for (count, (name, class)) in column.parts.iter().zip(parts) {
                if *count == 0 {
                    continue;
                }
                let _ = write!(title, "\n{name}: {count}");
                let bottom = scaled(below, most);
                below += count;
                // So low that it is not seen is what matters most: one failure of many.
                let top = scaled(below, most).max(bottom + 1.5);
                rects.push(Rect {
                    class,
                    x: units(place as f64 * step + gap / 2.0),
                    y: units(f64::from(HEIGHT) - top),
                    width: units(step - gap),
                    height: units(top - bottom),
                });
            }
            Drawn { title, rects }
        });
        Self { most, columns: columns.collect() }
    }
}

/// Lines over time.
#[derive(Debug)]
pub(crate) struct Lines {
    /// A round number that no point exceeds.
    pub(crate) most: u64,
    /// The data of a path each; empty where there is no point.
    pub(crate) paths: Vec<String>,
}

impl Lines {
    /// Draws lines; where nothing is known, a line is broken off.
    pub(crate) fn of(lines: &[Vec<Option<u32>>]) -> Self {
        let points = lines.iter().flatten().flatten();
        Self::up_to(round_up(points.copied().max().unwrap_or(0).into()), lines)
    }

    /// The same below a number that no point exceeds.
    pub(crate) fn up_to(most: u64, lines: &[Vec<Option<u32>>]) -> Self {
        let path = |line: &Vec<Option<u32>>| {
            let step = f64::from(WIDTH) / line.len().max(1) as f64;
            let mut path = String::new();
            let mut is_drawing = false;
            for (place, point) in line.iter().enumerate() {
                let Some(point) = point else {
                    is_drawing = false;
                    continue;
                };
                let x = units((place as f64 + 0.5) * step);
                let y = units(f64::from(HEIGHT) - scaled((*point).into(), most));
                // A point that stands alone is a line of no length, with round ends.
                let verb = if is_drawing { 'L' } else { 'M' };
                let _ = write!(path, "{verb}{x} {y}");
                if !is_drawing {
                    path.push_str("h0");
                }
                is_drawing = true;
            }
            path
        };
        Self { most, paths: lines.iter().map(path).collect() }
    }
}

fn scaled(count: u64, most: u64) -> f64 {
    // The highest one leaves a little room.
    count as f64 / most.max(1) as f64 * (f64::from(HEIGHT) - 4.0)
}

fn units(at: f64) -> String {
    let text = format!("{at:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// The next number of 1, 2, 5, 10, 20, 50, ….
fn round_up(count: u64) -> u64 {
    let mut power: u64 = 1;
    loop {
        for digit in [1, 2, 5] {
            let round = power.saturating_mul(digit);
            if round >= count || round == u64::MAX {
                return round;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (count, round) in [(0, 1), (1, 1), (3, 5), (11, 20), (500, 500), (501, 1_000)] {
            assert_eq!(round_up(count), round);
        }
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }

    #[test]
    fn bars_stand_on_each_other_and_a_single_failure_is_seen() {
        let columns = [
            Column { when: "08:00".to_owned(), parts: vec![99_999, 1] },
            Column::default(),
            Column { when: "10:00".to_owned(), parts: vec![0, 0] },
        ];
        let bars = Bars::of(&columns, &[("delivered", "good"), ("not delivered", "bad")]);
        assert_eq!((bars.most, bars.columns.len()), (100_000, 1));
        let [column] = bars.columns.as_slice() else { panic!("{bars:?}") };
        assert_eq!(column.title, "08:00\ndelivered: 99999\nnot delivered: 1");
        let [good, bad] = column.rects.as_slice() else { panic!("{column:?}") };
        assert_eq!(
            (good.x.as_str(), good.width.as_str(), good.height.as_str()),
            ("2", "316", "156")
        );
        assert_eq!((bad.height.as_str(), bad.y.as_str()), ("1.5", "2.5"));
    }

    #[test]
    fn lines_are_broken_off_where_nothing_is_known() {
        let lines = Lines::of(&[vec![Some(10), Some(5), None, Some(10)], vec![None; 4]]);
        assert_eq!(lines.most, 10);
        assert_eq!(lines.paths, ["M120 4h0L360 82M840 4h0", ""]);
    }
}
