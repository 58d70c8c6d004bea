//! Tables that fit the terminal: columns as wide as what is in them, the widest cut first where there is no room.

use std::io::IsTerminal as _;

use crate::screen;
use crate::text::{DIM, Line, PLAIN};

/// Blanks between columns.
const GAP: usize = 2;
/// Columns below which no cell is cut: what is left of it would say nothing.
const WIDTH_MIN: usize = 6;
/// Columns where standard output is no terminal.
const COLUMNS_PIPED: usize = 160;

/// Columns of standard output.
#[must_use]
pub fn columns() -> usize {
    if std::io::stdout().is_terminal() { screen::size().0 } else { COLUMNS_PIPED }
}

/// The rows below their heads, in at most `columns` columns. Rows have as many cells as there are heads.
#[must_use]
pub fn fitted(heads: &[&str], rows: Vec<Vec<Line>>, columns: usize) -> Vec<Line> {
    let head: Vec<Line> = heads.iter().map(|head| Line::default().with(DIM, head)).collect();
    let all: Vec<Vec<Line>> = std::iter::once(head).chain(rows).collect();
    let natural = (0..heads.len())
        .map(|at| all.iter().filter_map(|row| row.get(at)).map(Line::width).max().unwrap_or(0));
    let widths = narrowed(natural.collect(), columns.saturating_sub(GAP * heads.len().saturating_sub(1)));
    all.into_iter().map(|row| joined(row, &widths).cut(columns)).collect()
}

/// Takes from the widest until all fit, or none can give more.
fn narrowed(mut widths: Vec<usize>, room: usize) -> Vec<usize> {
    while widths.iter().sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > WIDTH_MIN) else { break };
        *widest -= 1;
    }
    widths
}

fn joined(row: Vec<Line>, widths: &[usize]) -> Line {
    let last = widths.len().saturating_sub(1);
    row.into_iter().zip(widths).enumerate().fold(Line::default(), |line, (at, (cell, width))| {
        let cell = cell.cut(*width);
        let blanks = if at == last { 0 } else { width - cell.width() + GAP };
        line.then(cell).with(PLAIN, &" ".repeat(blanks))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Paint;

    fn shown(columns: usize) -> String {
        let row = |cells: [&str; 3]| cells.into_iter().map(Line::of).collect::<Vec<_>>();
        let rows = vec![row(["1", "日本語のとても長い名前", "ok"]), row(["22", "short", "not ok"])];
        let lines = fitted(&["ID", "NAME", "STATE"], rows, columns);
        assert!(lines.iter().all(|line| line.width() <= columns));
        lines.iter().map(|line| line.render(Paint::Plain) + "\n").collect()
    }

    #[test]
    fn the_widest_column_gives_way() {
        insta::assert_snapshot!(shown(80), @r"
        ID  NAME                    STATE
        1   日本語のとても長い名前  ok
        22  short                   not ok
        ");
        insta::assert_snapshot!(shown(24), @r"
        ID  NAME          STATE
        1   日本語のと…   ok
        22  short         not ok
        ");
    }
}
