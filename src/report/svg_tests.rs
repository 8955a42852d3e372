//! One document, one picture, no number that is none.

use super::super::figure::Scale;
use super::*;

fn figure() -> Figure {
    let values = [0.0, 0.25, 0.5].map(|x| (x, x.to_string()));
    let series = |style: usize| Series {
        name: format!("arm {style} <&>"),
        style,
        points: (0..3)
            .map(|step| {
                let y = 0.8 - 0.05 * usize_to_f64(step + style);
                Point {
                    x: values[step].0,
                    y,
                    band: Some((y - 0.02, y + 0.02)),
                }
            })
            .collect(),
    };
    Figure {
        title: "Does a sparser arm lose more answers as noise grows?".to_owned(),
        panels: vec![Panel {
            title: "de contexts, en questions".to_owned(),
            x: Axis::at("distractor share", Scale::Linear, &values),
            y: Axis::from_zero("nDCG@10", 1.0),
            series: (0..8).map(series).collect(),
            reference: None,
        }],
        columns: 1,
        caption: vec!["n = 3; made for a test.".to_owned()],
        watermark: Some("no evidence".to_owned()),
    }
}

#[test]
fn a_figure_is_one_document_with_its_words_escaped() {
    let svg = draw(&figure());
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("arm 7 &lt;&amp;&gt;"), "names are escaped");
    assert_eq!(svg.matches("no evidence").count(), 1);
    assert_eq!(
        svg,
        draw(&figure()),
        "a drawing is a function of its figure"
    );
}

#[test]
fn a_figure_is_a_picture_too() {
    let bytes = png(&figure());
    let decoder = png::Decoder::new(std::io::Cursor::new(&bytes));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let inked = |ink: (u8, u8, u8)| pixels.chunks(3).any(|p| p == [ink.0, ink.1, ink.2]);
    // The lines of every style, and the ink of the words.
    assert!(PALETTE.iter().all(|ink| inked(*ink)) && inked(INK));
    assert_eq!(bytes, png(&figure()), "a function of its figure");
}

#[test]
fn a_value_that_is_no_number_is_left_out() {
    let mut broken = figure();
    let points = &mut broken.panels[0].series[0].points;
    points[1].y = f64::NAN;
    let svg = draw(&broken);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn long_lines_wrap_between_words() {
    let words = "one two three four five six seven";
    let lines = wrap(words, 100, 16);
    assert!(lines.len() > 1);
    assert_eq!(lines.join(" "), words);
}
