//! A layout as a picture: characters for a terminal, SVG for a page.
//!
//! A cell of a picture stands for equally many queries and keys as every other (the last ones may stand for fewer); its
//! shade is the share of its pairs that are visible. The SVG has beneath the mask one bar a CTA: the tiles of keys it
//! visits.

use crate::convert::usize_to_f64;
use flashproof_reference::Layout;
use std::fmt::Write;

/// Shades from nothing to everything.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];

/// Side of an SVG mask in pixels.
const SIDE: f64 = 640.0;
const MARGIN: f64 = 40.0;
const BARS: f64 = 120.0;
/// Most cells on a side of an SVG mask.
const CELLS_MAX: usize = 256;

/// Visible pairs of a head, summed over cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Queries of a cell.
    pub cell_q: usize,
    /// Keys of a cell.
    pub cell_kv: usize,
    /// Visible pairs and all pairs of each cell, by row.
    pub cells: Vec<Vec<(usize, usize)>>,
}

/// Sums a head over at most `cells_max` cells on a side; a cell that is larger than a block holds whole ones, a smaller
/// one divides it.
pub fn picture(layout: &Layout, head: usize, cells_max: usize) -> Picture {
    let side = |length: usize, block: usize| {
        let cell = length.div_ceil(cells_max.max(1)).max(1);
        if cell > block {
            cell.next_multiple_of(block)
        } else {
            // The smallest part of a block that is large enough.
            (cell..=block)
                .find(|part| block.is_multiple_of(*part))
                .unwrap_or(block)
        }
    };
    let cell_q = side(layout.seqlen_q(), layout.block_q());
    let cell_kv = side(layout.seqlen_kv(), layout.block_kv());
    let columns = layout.seqlen_kv().div_ceil(cell_kv);
    let cells = (0..layout.seqlen_q().div_ceil(cell_q))
        .map(|row| {
            let end = ((row + 1) * cell_q).min(layout.seqlen_q());
            let mut visible = vec![0; columns];
            for q in row * cell_q..end {
                for key in layout.visible_keys(head, q).flatten() {
                    visible[key / cell_kv] += 1;
                }
            }
            let rows = end - row * cell_q;
            let width =
                |column: usize| ((column + 1) * cell_kv).min(layout.seqlen_kv()) - column * cell_kv;
            let counted = visible.iter().enumerate();
            counted
                .map(|(column, visible)| (*visible, rows * width(column)))
                .collect()
        })
        .collect();
    Picture {
        cell_q,
        cell_kv,
        cells,
    }
}

/// The shade of a cell: nothing and everything are told exactly, what is between by thirds.
fn shade(visible: usize, pairs: usize) -> char {
    if visible == 0 {
        SHADES[0]
    } else if visible == pairs {
        SHADES[4]
    } else {
        SHADES[1 + (visible * 3 / pairs.max(1)).min(2)]
    }
}

/// The picture in characters, a line a row of cells.
pub fn text(picture: &Picture) -> String {
    let mut out = String::new();
    for row in &picture.cells {
        out.extend(row.iter().map(|(visible, pairs)| shade(*visible, *pairs)));
        out.push('\n');
    }
    out
}

/// Mask and work as SVG. `tiles` are the tiles of keys that each CTA of this head visits.
pub fn svg(layout: &Layout, head: usize, tiles: &[usize], title: &str) -> String {
    let mut out = String::new();
    write_svg(&mut out, &picture(layout, head, CELLS_MAX), tiles, title)
        .expect("writing to a string does not fail");
    out
}

fn write_svg(
    out: &mut String,
    picture: &Picture,
    tiles: &[usize],
    title: &str,
) -> std::fmt::Result {
    let rows = picture.cells.len().max(1);
    let columns = picture.cells.first().map_or(1, Vec::len).max(1);
    let number = usize_to_f64;
    let (width, height) = if rows >= columns {
        (SIDE * number(columns) / number(rows), SIDE)
    } else {
        (SIDE, SIDE * number(rows) / number(columns))
    };
    let (cell_width, cell_height) = (width / number(columns), height / number(rows));
    let bars_top = MARGIN + height + MARGIN;
    let (page_width, page_height) = (SIDE + 2.0 * MARGIN, bars_top + BARS + 2.0 * MARGIN);
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{page_width}" height="{page_height:.0}" viewBox="0 0 {page_width} {page_height:.0}" font-family="sans-serif" font-size="13">"#
    )?;
    let escaped = title
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    writeln!(out, r#"<rect width="100%" height="100%" fill="white"/>"#)?;
    writeln!(out, r#"<text x="{MARGIN}" y="26">{escaped}</text>"#)?;
    writeln!(
        out,
        r##"<rect x="{MARGIN}" y="{MARGIN}" width="{width:.2}" height="{height:.2}" fill="#f2f2f2" stroke="#999"/>"##
    )?;
    for (at, row) in picture.cells.iter().enumerate() {
        // One rectangle a run of equal cells.
        let mut from = 0;
        for run in row.chunk_by(|a, b| a == b) {
            let (visible, pairs) = run[0];
            if visible > 0 {
                let opacity = 0.25 + 0.75 * number(visible) / number(pairs.max(1));
                let x = MARGIN + number(from) * cell_width;
                let y = MARGIN + number(at) * cell_height;
                let run_width = number(run.len()) * cell_width;
                writeln!(
                    out,
                    r##"<rect x="{x:.2}" y="{y:.2}" width="{run_width:.2}" height="{cell_height:.2}" fill="#0072b2" fill-opacity="{opacity:.3}"/>"##
                )?;
            }
            from += run.len();
        }
    }
    let most = tiles.iter().copied().max().unwrap_or(0).max(1);
    let bar_width = SIDE / number(tiles.len().max(1));
    for (at, count) in tiles.iter().enumerate() {
        let bar = BARS * number(*count) / number(most);
        let x = MARGIN + number(at) * bar_width;
        let y = bars_top + BARS - bar;
        writeln!(
            out,
            r##"<rect x="{x:.2}" y="{y:.2}" width="{:.2}" height="{bar:.2}" fill="#d55e00"/>"##,
            bar_width * 0.9
        )?;
    }
    let below = bars_top + BARS + 20.0;
    writeln!(
        out,
        r#"<text x="{MARGIN}" y="{below:.0}">tiles of keys that each CTA visits, in launch order; most: {most}</text>"#
    )?;
    writeln!(out, "</svg>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causal_is_a_staircase() {
        let picture = picture(&Layout::dense_causal(8, 8), 0, 4);
        assert_eq!(text(&picture), "▓···\n█▓··\n██▓·\n███▓\n");
    }

    #[test]
    fn an_svg_has_a_bar_a_cta() {
        let layout = Layout::dense_causal(256, 256);
        let drawn = svg(&layout, 0, &[1, 2, 3, 4], "a < b");
        assert_eq!(drawn.matches("#d55e00").count(), 4);
        assert!(drawn.contains("a &lt; b") && drawn.ends_with("</svg>\n"));
    }
}
