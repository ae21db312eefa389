//! Error sentences: one line each, whatever they quote.

/// The text with its control characters shown escaped, so that a quoted name cannot break the line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}
