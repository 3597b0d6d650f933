//! The terminal while `top` draws on it.
//!
//! It draws on the other screen, so that what stood there before stands there afterwards, however it ends. Lines are
//! cut to the window, never folded: a folded one would push the first ones out. Without colour there is nothing that
//! NO_COLOR could forbid.

use rustix::termios::tcgetwinsize;
use std::io::{self, Write as _};

/// xterm: the other screen, and back. ECMA-48: the cursor hidden, and shown.
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";
/// ECMA-48: the cursor to the first place; what is left of a line, and of the screen, erased.
const HOME: &str = "\x1b[H";
const ERASE_LINE_END: &str = "\x1b[K";
const ERASE_BELOW: &str = "\x1b[J";
/// Where the window does not say (VT100).
const ROWS: usize = 24;
const COLUMNS: usize = 80;

/// The other screen, for as long as this lives.
pub(super) struct Screen(());

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        let screen = Self(());
        write(OPEN)?;
        Ok(screen)
    }

    /// Draws over what was drawn before, line by line, so that nothing flickers.
    pub(super) fn draw(&self, text: impl FnOnce(usize) -> String) -> io::Result<()> {
        let (rows, columns) = size();
        // The last column stays free: after it a terminal would erase what it just wrote.
        let lines = fitted(&text(rows), rows, columns.saturating_sub(1));
        let lines: Vec<String> = lines.into_iter().map(|line| format!("{line}{ERASE_LINE_END}")).collect();
        // No new line after the last one: at the lowest row it would move all others up.
        write(&format!("{HOME}{}{ERASE_BELOW}", lines.join("\r\n")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = write(CLOSE);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Rows and columns of the window.
fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stdout()).ok();
    let known = |length: u16, otherwise: usize| if length == 0 { otherwise } else { usize::from(length) };
    size.map_or((ROWS, COLUMNS), |size| (known(size.ws_row, ROWS), known(size.ws_col, COLUMNS)))
}

/// The lines that a window holds, each cut to it. Whatever is cut ends in a mark that says so.
fn fitted(text: &str, rows: usize, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| cut(line, columns)).collect();
    if lines.len() > rows {
        lines.truncate(rows.saturating_sub(1));
        lines.push(cut("…", columns));
    }
    lines
}

/// Every character of names and words of ours is one column wide.
fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    line.chars().take(columns.saturating_sub(1)).chain(['…']).take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::fitted;

    #[test]
    fn lines_are_cut_to_the_window_and_what_is_cut_is_marked() {
        let text = "a – heading\n\none\ntwo\n";
        assert_eq!(fitted(text, 10, 80), ["a – heading", "", "one", "two"]);
        assert_eq!(fitted(text, 4, 5), ["a – …", "", "one", "two"]);
        assert_eq!(fitted(text, 3, 80), ["a – heading", "", "…"]);
        assert_eq!(fitted(text, 1, 1), ["…"]);
        assert!(fitted(text, 1, 0)[0].is_empty());
    }
}
