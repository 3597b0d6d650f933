//! Cuts a file of policies into its statements, with the line on which each begins.
//!
//! Cedar reads a whole file at once and then no longer says where a policy stood. Cutting is done here
//! and decides nothing: every piece is read by Cedar as exactly one policy, so a wrong cut is refused.

/// One statement of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    /// The line on which it begins, from 1.
    pub(crate) line: usize,
    /// Its text, with its semicolon.
    pub(crate) text: &'a str,
}

/// The statements of a file; what stands after the last semicolon is one, unless it is blank.
pub(crate) fn statements(file: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let (mut line, mut begun) = (1, None);
    let mut bytes = file.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\n' => line += 1,
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes.next_if(|(_, next)| *next != b'\n').is_some() {}
            }
            byte if byte.is_ascii_whitespace() => {}
            byte => {
                let (start, first_line) = *begun.get_or_insert((at, line));
                match byte {
                    b'"' => line += skip_string(&mut bytes),
                    b';' => {
                        found.extend(file.get(start..=at).map(|text| Statement { line: first_line, text }));
                        begun = None;
                    }
                    _ => {}
                }
            }
        }
    }
    let rest = begun.and_then(|(start, line)| file.get(start..).map(|text| Statement { line, text }));
    found.extend(rest);
    found
}

/// Goes to the end of a string literal; the number of lines that it spans.
fn skip_string(bytes: &mut impl Iterator<Item = (usize, u8)>) -> usize {
    let (mut lines, mut escaped) = (0, false);
    for (_, byte) in bytes {
        match byte {
            b'\n' => lines += 1,
            _ if escaped => {}
            b'"' => return lines,
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn a_statement_ends_at_a_semicolon_outside_strings_and_comments() {
        let file = "// a; b\n\nforbid(x) when { \"a;\\\";b\" }; // c;\n@id(\"y\")\nforbid;\n  // end\n";
        let found: Vec<_> = statements(file).into_iter().map(|one| (one.line, one.text)).collect();
        assert_eq!(found, [(3, "forbid(x) when { \"a;\\\";b\" };"), (4, "@id(\"y\")\nforbid;")]);
    }

    #[test]
    fn what_has_no_semicolon_is_a_statement_too() {
        assert_eq!(statements("forbid").len(), 1);
        assert_eq!(statements("a;b \"").len(), 2);
        assert!(statements(" // only a comment").is_empty());
    }
}
