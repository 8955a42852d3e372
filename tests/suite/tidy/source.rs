//! Rust source with what is not code taken out.

/// `text` with comments, strings and characters blanked; lines stay where they are.
pub(super) fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |out: &mut String, c: char| out.push(if c == '\n' { '\n' } else { ' ' });
    while at < chars.len() {
        let rest = &chars[at..];
        let end = at + token_length(rest, out.chars().next_back());
        if end == at {
            out.push(chars[at]);
            at += 1;
        }
        while at < end {
            blank(&mut out, chars[at]);
            at += 1;
        }
    }
    out
}

/// Length of the comment, string or character that begins here; 0 if none does.
fn token_length(rest: &[char], before: Option<char>) -> usize {
    let find = |from: usize, end: &[char]| {
        (from..rest.len())
            .find(|&at| rest[at..].starts_with(end))
            .map_or(rest.len(), |at| at + end.len())
    };
    match rest {
        ['/', '/', ..] => find(2, &['\n']) - 1,
        ['/', '*', ..] => find(2, &['*', '/']),
        ['"', ..] => quoted(rest, '"'),
        ['r', next @ ('"' | '#'), ..]
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_') =>
        {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            if *next == '#' && rest.get(1 + hashes) != Some(&'"') {
                return 0; // r#identifier
            }
            let end: Vec<char> = std::iter::once('"')
                .chain("#".repeat(hashes).chars())
                .collect();
            find(2 + hashes, &end)
        }
        // A lifetime has no closing quote two characters on.
        ['\'', '\\', ..] => quoted(rest, '\''),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `text` up to its test module: by convention the last item of a file, `#[cfg(test)]` before it.
pub(super) fn without_tests(text: &str) -> String {
    let end = text
        .match_indices("#[cfg(test)]\nmod ")
        .find(|(at, _)| {
            text[*at..]
                .lines()
                .nth(1)
                .is_some_and(|line| line.ends_with('{'))
        })
        .map_or(text.len(), |(at, _)| at);
    text[..end].to_owned()
}

#[test]
fn comments_strings_and_characters_are_blanked() {
    let text = "let a = \"x // \\\" y\"; // b\nlet c = 'd'; let e: &'static str = r#\"f\"#; /* g\n h */ let i = '\\'';";
    let code = code_of(text);
    assert_eq!(code.lines().count(), text.lines().count());
    for word in ["x", "b", "'d'", "f", "g", " h"] {
        assert!(!code.contains(word), "{word} in {code}");
    }
    for word in ["let a =", "let c =", "&'static str", "let i ="] {
        assert!(code.contains(word), "{word} not in {code}");
    }
}

#[test]
fn tests_at_the_end_are_cut() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    unsafe {}\n}\n";
    assert_eq!(without_tests(text), "fn a() {}\n");
    let declared = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n";
    assert_eq!(without_tests(declared), declared);
}
