//! A figure drawn as SVG or PNG.
//!
//! Every position is computed here; plotters writes the primitives. So no font is measured, the text is the same on
//! every machine, and the picture a function of the figure alone. The font of the PNG is the one in `font/`, read from
//! the program itself.

use super::figure::{Axis, Figure, Panel, Point, Series};
use super::heat::HeatMap;
use crate::convert::{pixel, usize_to_f64};
use plotters::coord::Shift;
use plotters::prelude::{
    BitMapBackend, Circle, Color, DrawingArea, DrawingAreaErrorKind, DrawingBackend, FontFamily,
    FontStyle, IntoDrawingArea, PathElement, Polygon, Rectangle, SVGBackend, ShapeStyle, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, RGBColor, TextStyle};
use std::ops::Range;

/// Okabe and Ito's palette (black first, yellow left out: it vanishes on white), told apart by every common kind of
/// colour vision.
const PALETTE: [(u8, u8, u8); 8] = [
    (0, 0, 0),
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (120, 120, 120),
];

pub(super) const INK: (u8, u8, u8) = (40, 40, 40);
pub(super) const PALE: (u8, u8, u8) = (225, 225, 225);
pub(super) const WIDTH: i32 = 1200;
pub(super) const MARGIN: i32 = 24;
const LEGEND_WIDTH: i32 = 250;
const LEGEND_ROW: i32 = 26;
pub(super) const TITLE_SIZE: i32 = 26;
pub(super) const TEXT_SIZE: i32 = 16;
pub(super) const CAPTION_SIZE: i32 = 15;

/// Draws the figure.
pub fn draw(figure: &Figure) -> String {
    let page = Page::of(figure);
    text(page.height, |canvas| canvas.figure(figure, &page))
}

/// A page of SVG.
pub(super) fn text(
    height: i32,
    draw: impl FnOnce(&mut Canvas<SVGBackend<'_>>) -> Drawn<SVGBackend<'static>>,
) -> String {
    let mut svg = String::new();
    {
        let size = (coordinate(WIDTH), coordinate(height));
        let mut canvas = Canvas {
            area: SVGBackend::with_string(&mut svg, size).into_drawing_area(),
        };
        draw(&mut canvas)
            .and_then(|()| canvas.area.present())
            .expect("writing SVG into a string does not fail");
    }
    svg
}

/// Draws the figure as a PNG file's bytes, eight bits a channel.
pub fn png(figure: &Figure) -> Vec<u8> {
    let page = Page::of(figure);
    picture(page.height, |canvas| canvas.figure(figure, &page))
}

/// A page as the bytes of a PNG file.
pub(super) fn picture(
    height: i32,
    draw: impl FnOnce(&mut Canvas<BitMapBackend<'_>>) -> Drawn<BitMapBackend<'static>>,
) -> Vec<u8> {
    // Registering again what is registered changes nothing.
    let font = include_bytes!("font/dejavu_sans_latin.ttf");
    let is_font = plotters::style::register_font("sans-serif", FontStyle::Normal, font).is_ok();
    assert!(is_font, "the bundled font is a font");
    let (width, height) = (coordinate(WIDTH), coordinate(height));
    let pixels = usize::try_from(width * height).expect("a page fits in memory");
    let mut buffer = vec![0; 3 * pixels];
    {
        let mut canvas = Canvas {
            area: BitMapBackend::with_buffer(&mut buffer, (width, height)).into_drawing_area(),
        };
        draw(&mut canvas)
            .and_then(|()| canvas.area.present())
            .expect("drawing into memory does not fail");
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&buffer))
        .expect("writing into memory does not fail");
    bytes
}

/// How strongly a cell of a map is coloured, and in which of two colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shade {
    /// Blue, else orange.
    pub is_above: bool,
    /// 0 is white.
    pub strength: f64,
}

const CELL: i32 = 84;
const CELL_HEIGHT: i32 = 52;
const MAP_LEFT: i32 = 90;
const MAP_TOP: i32 = 96;

/// Draws a map as SVG.
pub(super) fn heat_svg(map: &HeatMap) -> String {
    text(heat_height(map), |canvas| canvas.heat(map))
}

/// Draws a map as a PNG file's bytes.
pub(super) fn heat_png(map: &HeatMap) -> Vec<u8> {
    picture(heat_height(map), |canvas| canvas.heat(map))
}

fn heat_height(map: &HeatMap) -> i32 {
    MAP_TOP + count(map.rows.len()) * CELL_HEIGHT + count(map.caption.len()) * 24 + 2 * MARGIN
}

/// Where the parts of a page lie.
struct Page {
    height: i32,
    title: Vec<String>,
    caption: Vec<String>,
    panels_top: i32,
    panel_width: i32,
    panel_height: i32,
    columns: i32,
}

impl Page {
    fn of(figure: &Figure) -> Self {
        let title = wrap(&figure.title, WIDTH - 2 * MARGIN, TITLE_SIZE);
        let caption: Vec<String> = figure
            .caption
            .iter()
            .flat_map(|line| wrap(line, WIDTH - 2 * MARGIN, CAPTION_SIZE))
            .collect();
        let columns = count(figure.columns.max(1));
        let rows = (count(figure.panels.len()) + columns - 1) / columns;
        let panel_height = if rows <= 1 { 470 } else { 330 };
        let panels_top = MARGIN + count(title.len()) * (TITLE_SIZE + 6) + 8;
        Self {
            height: panels_top
                + rows * panel_height
                + count(caption.len()) * (CAPTION_SIZE + 5)
                + MARGIN,
            title,
            caption,
            panels_top,
            panel_width: (WIDTH - 2 * MARGIN - LEGEND_WIDTH) / columns,
            panel_height,
            columns,
        }
    }
}

pub(super) type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// A place on the page in pixels from the upper left corner.
pub(super) type Place = (i32, i32);

pub(super) struct Canvas<B: DrawingBackend> {
    pub(super) area: DrawingArea<B, Shift>,
}

/// Where a panel's data lies on the page.
struct Frame {
    x: Range<i32>,
    y: Range<i32>,
}

impl Frame {
    fn place(&self, panel: &Panel, x: f64, y: f64) -> Place {
        let along = |axis: &Axis, value: f64, range: &Range<i32>| {
            // A value beyond the axis is drawn at its edge, never outside the panel.
            axis.position(value).clamp(0.0, 1.0) * f64::from(range.end - range.start)
        };
        (
            self.x.start + pixel(along(&panel.x, x, &self.x)),
            self.y.end - pixel(along(&panel.y, y, &self.y)),
        )
    }
}

impl<B: DrawingBackend> Canvas<B> {
    fn figure(&mut self, figure: &Figure, page: &Page) -> Drawn<B> {
        let corners = [(0, 0), (WIDTH, page.height)];
        self.area.draw(&Rectangle::new(
            corners,
            paint((255, 255, 255), 1.0).filled(),
        ))?;
        let mut top = MARGIN;
        for line in &page.title {
            self.text(
                line,
                (MARGIN, top),
                TITLE_SIZE,
                INK,
                (HPos::Left, VPos::Top),
            )?;
            top += TITLE_SIZE + 6;
        }
        for (index, panel) in figure.panels.iter().enumerate() {
            let index = count(index);
            let left = MARGIN + (index % page.columns) * page.panel_width;
            let top = page.panels_top + (index / page.columns) * page.panel_height;
            let frame = Frame {
                x: left + 66..left + page.panel_width - 14,
                y: top + 30..top + page.panel_height - 62,
            };
            self.panel(panel, &frame, figure.watermark.as_deref())?;
        }
        self.legend(figure, page)?;
        let mut top = page.height - MARGIN - count(page.caption.len()) * (CAPTION_SIZE + 5);
        for line in &page.caption {
            self.text(
                line,
                (MARGIN, top),
                CAPTION_SIZE,
                INK,
                (HPos::Left, VPos::Top),
            )?;
            top += CAPTION_SIZE + 5;
        }
        Ok(())
    }

    fn heat(&mut self, map: &HeatMap) -> Drawn<B> {
        let whole = [(0, 0), (WIDTH, heat_height(map))];
        let white = (255, 255, 255);
        self.area
            .draw(&Rectangle::new(whole, paint(white, 1.0).filled()))?;
        let corner = (HPos::Left, VPos::Top);
        let middle = (HPos::Center, VPos::Center);
        self.text(&map.title, (MARGIN, MARGIN), TITLE_SIZE - 4, INK, corner)?;
        for (index, column) in map.columns.iter().enumerate() {
            let at = (MAP_LEFT + count(index) * CELL + CELL / 2, MAP_TOP - 18);
            self.text(column, at, TEXT_SIZE, INK, middle)?;
        }
        for (index, (row, cells)) in map.rows.iter().zip(&map.cells).enumerate() {
            let top = MAP_TOP + count(index) * CELL_HEIGHT;
            let at = (MAP_LEFT - 30, top + CELL_HEIGHT / 2);
            self.text(row, at, TEXT_SIZE, INK, middle)?;
            for (column, cell) in cells.iter().enumerate() {
                let Some((value, stands_out)) = *cell else {
                    continue;
                };
                let left = MAP_LEFT + count(column) * CELL;
                let corners = [
                    (left + 2, top + 2),
                    (left + CELL - 2, top + CELL_HEIGHT - 2),
                ];
                let shade = map.shade(value);
                let ink = PALETTE[if shade.is_above { 1 } else { 5 }];
                let strength = 0.75 * shade.strength;
                self.area
                    .draw(&Rectangle::new(corners, paint(ink, strength).filled()))?;
                if stands_out {
                    self.area
                        .draw(&Rectangle::new(corners, paint(INK, 1.0).stroke_width(2)))?;
                }
                let at = (left + CELL / 2, top + CELL_HEIGHT / 2);
                self.text(&format!("{value:+.1}"), at, TEXT_SIZE, INK, middle)?;
            }
        }
        let mut top = MAP_TOP + count(map.rows.len()) * CELL_HEIGHT + MARGIN;
        for line in &map.caption {
            self.text(line, (MARGIN, top), CAPTION_SIZE, INK, corner)?;
            top += 24;
        }
        Ok(())
    }

    fn panel(&mut self, panel: &Panel, frame: &Frame, watermark: Option<&str>) -> Drawn<B> {
        let (x, y) = (&frame.x, &frame.y);
        let centre = (x.start + x.end) / 2;
        self.text(
            &panel.title,
            (x.start, y.start - 10),
            TEXT_SIZE,
            INK,
            (HPos::Left, VPos::Bottom),
        )?;
        for (value, words) in &panel.y.ticks {
            let (_, height) = frame.place(panel, panel.x.low, *value);
            self.line((x.start, height), (x.end, height), PALE, 1)?;
            self.text(
                words,
                (x.start - 8, height),
                TEXT_SIZE - 2,
                INK,
                (HPos::Right, VPos::Center),
            )?;
        }
        for (value, words) in &panel.x.ticks {
            let (along, _) = frame.place(panel, *value, panel.y.low);
            self.line((along, y.end), (along, y.end + 5), INK, 1)?;
            self.text(
                words,
                (along, y.end + 8),
                TEXT_SIZE - 2,
                INK,
                (HPos::Center, VPos::Top),
            )?;
        }
        if let Some(words) = watermark {
            let middle = (centre, (y.start + y.end) / 2);
            self.text(
                words,
                middle,
                44,
                (210, 210, 210),
                (HPos::Center, VPos::Center),
            )?;
        }
        if let Some(value) = panel.reference {
            let (_, height) = frame.place(panel, panel.x.low, value);
            self.line((x.start, height), (x.end, height), INK, 2)?;
        }
        self.line((x.start, y.end), (x.end, y.end), INK, 1)?;
        self.line((x.start, y.start), (x.start, y.end), INK, 1)?;
        let below = (centre, y.end + 30);
        self.text(
            &panel.x.label,
            below,
            TEXT_SIZE,
            INK,
            (HPos::Center, VPos::Top),
        )?;
        self.upright(&panel.y.label, (x.start - 54, (y.start + y.end) / 2))?;
        for series in &panel.series {
            self.band(panel, frame, series)?;
        }
        for series in &panel.series {
            let places: Vec<Place> = series
                .points
                .iter()
                .filter(|point| drawable(point))
                .map(|point| frame.place(panel, point.x, point.y))
                .collect();
            let colour = colour(series.style);
            self.area.draw(&PathElement::new(
                places.clone(),
                paint(colour, 1.0).stroke_width(2),
            ))?;
            for place in places {
                self.marker(place, series.style)?;
            }
        }
        Ok(())
    }

    fn band(&mut self, panel: &Panel, frame: &Frame, series: &Series) -> Drawn<B> {
        let bands: Vec<(f64, (f64, f64))> = series
            .points
            .iter()
            .filter(|point| drawable(point))
            .filter_map(|point| Some((point.x, point.band?)))
            .collect();
        if bands.len() < 2 {
            // One value has no area: its band is an upright line.
            for (x, (low, high)) in bands {
                let ends = (frame.place(panel, x, low), frame.place(panel, x, high));
                self.line(ends.0, ends.1, colour(series.style), 2)?;
            }
            return Ok(());
        }
        let upper = bands
            .iter()
            .map(|&(x, (_, high))| frame.place(panel, x, high));
        let lower = bands
            .iter()
            .rev()
            .map(|&(x, (low, _))| frame.place(panel, x, low));
        let edge: Vec<Place> = upper.chain(lower).collect();
        self.area
            .draw(&Polygon::new(edge, paint(colour(series.style), 0.13)))
    }

    fn legend(&mut self, figure: &Figure, page: &Page) -> Drawn<B> {
        let mut seen: Vec<&str> = Vec::new();
        let left = WIDTH - MARGIN - LEGEND_WIDTH + 12;
        let mut top = page.panels_top + 40;
        for series in figure.panels.iter().flat_map(|panel| &panel.series) {
            if seen.contains(&series.name.as_str()) {
                continue;
            }
            seen.push(&series.name);
            self.line((left, top), (left + 34, top), colour(series.style), 2)?;
            self.marker((left + 17, top), series.style)?;
            for line in wrap(&series.name, LEGEND_WIDTH - 60, TEXT_SIZE) {
                self.text(
                    &line,
                    (left + 44, top),
                    TEXT_SIZE,
                    INK,
                    (HPos::Left, VPos::Center),
                )?;
                top += TEXT_SIZE + 3;
            }
            top += LEGEND_ROW - TEXT_SIZE - 3;
        }
        Ok(())
    }

    /// One shape a style, so that lines can be told apart without colour.
    pub(super) fn marker(&mut self, (x, y): Place, style: usize) -> Drawn<B> {
        let fill = paint(colour(style), 1.0).filled();
        let polygon = |corners: &[(i32, i32)]| -> Vec<Place> {
            corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect()
        };
        let corners = match style % PALETTE.len() {
            0 => return self.area.draw(&Circle::new((x, y), 5, fill)),
            1 => polygon(&[(-5, -5), (5, -5), (5, 5), (-5, 5)]),
            2 => polygon(&[(0, -7), (6, 5), (-6, 5)]),
            3 => polygon(&[(0, -7), (7, 0), (0, 7), (-7, 0)]),
            4 => polygon(&[(0, 7), (6, -5), (-6, -5)]),
            5 => {
                self.line((x - 6, y - 6), (x + 6, y + 6), colour(style), 3)?;
                return self.line((x - 6, y + 6), (x + 6, y - 6), colour(style), 3);
            }
            6 => {
                self.area.draw(&Circle::new(
                    (x, y),
                    6,
                    paint((255, 255, 255), 1.0).filled(),
                ))?;
                return self.area.draw(&Circle::new(
                    (x, y),
                    6,
                    paint(colour(style), 1.0).stroke_width(2),
                ));
            }
            _ => {
                self.line((x - 7, y), (x + 7, y), colour(style), 3)?;
                return self.line((x, y - 7), (x, y + 7), colour(style), 3);
            }
        };
        self.area.draw(&Polygon::new(corners, fill))
    }

    pub(super) fn line(
        &mut self,
        from: Place,
        to: Place,
        ink: (u8, u8, u8),
        width: u32,
    ) -> Drawn<B> {
        self.area.draw(&PathElement::new(
            vec![from, to],
            paint(ink, 1.0).stroke_width(width),
        ))
    }

    pub(super) fn text(
        &mut self,
        words: &str,
        at: Place,
        size: i32,
        ink: (u8, u8, u8),
        (h, v): (HPos, VPos),
    ) -> Drawn<B> {
        self.area
            .draw(&Text::new(words, at, text_style(size, ink, Pos::new(h, v))))
    }

    fn upright(&mut self, words: &str, at: Place) -> Drawn<B> {
        let style = text_style(TEXT_SIZE, INK, Pos::new(HPos::Center, VPos::Center));
        let turned = style.transform(FontTransform::Rotate270);
        self.area.draw(&Text::new(words, at, turned))
    }
}

fn drawable(point: &Point) -> bool {
    point.x.is_finite() && point.y.is_finite()
}

fn text_style(size: i32, ink: (u8, u8, u8), pos: Pos) -> TextStyle<'static> {
    let font = (FontFamily::SansSerif, size, FontStyle::Normal);
    // SVGBackend divides by 1.24, the height of a line of its fonts.
    let font = (font.0, f64::from(font.1) * 1.24, font.2);
    TextStyle {
        color: RGBColor(ink.0, ink.1, ink.2).to_backend_color(),
        pos,
        ..TextStyle::from(font)
    }
}

pub(super) fn colour(style: usize) -> (u8, u8, u8) {
    PALETTE[style % PALETTE.len()]
}

pub(super) fn paint((red, green, blue): (u8, u8, u8), alpha: f64) -> ShapeStyle {
    RGBColor(red, green, blue).mix(alpha).into()
}

pub(super) fn count(items: usize) -> i32 {
    i32::try_from(items).expect("a figure has fewer than 2^31 parts")
}

fn coordinate(pixels: i32) -> u32 {
    u32::try_from(pixels).expect("a page has a positive size")
}

/// Lines of at most `width` pixels, taking a character as 0.56 of its size: the mean of wide sans-serif fonts.
pub(super) fn wrap(words: &str, width: i32, size: i32) -> Vec<String> {
    let limit = f64::from(width) / (0.56 * f64::from(size));
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line)
                if usize_to_f64(line.chars().count() + 1 + word.chars().count()) <= limit =>
            {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
#[path = "svg_tests.rs"]
mod tests;
