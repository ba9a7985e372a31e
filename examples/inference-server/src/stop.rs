//! Ends a text at a stop string, though it arrives in pieces.
//!
//! In: pieces of text. Out: what may be shown. A tail that could still become a stop string is held
//! back, so a stop string is never half shown.

/// Looks for stop strings across pieces.
#[derive(Debug)]
pub struct StopFilter {
    stops: Vec<String>,
    held: String,
}

/// What to do after a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Passed {
    /// Show this (it may be empty) and go on.
    Text(String),
    /// Show this, then end: a stop string follows, which is not shown.
    Stopped(String),
}

impl StopFilter {
    /// A filter for these strings, none of which may be empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &str) -> Passed {
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return Passed::Stopped(text);
        }
        let keep = self.held.len() - self.longest_begun();
        let rest = self.held.split_off(keep);
        Passed::Text(std::mem::replace(&mut self.held, rest))
    }

    /// What was held back, when no more will come.
    pub fn finish(self) -> String {
        self.held
    }

    /// Bytes at the end of `held` that begin a stop string. Both are UTF-8, so a match of bytes
    /// begins on a character.
    fn longest_begun(&self) -> usize {
        let held = self.held.as_bytes();
        let begun = |stop: &String| {
            let most = held.len().min(stop.len() - 1);
            (1..=most).rev().find(|&n| held.ends_with(&stop.as_bytes()[..n])).unwrap_or(0)
        };
        self.stops.iter().map(begun).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(passed: &str) -> Passed {
        Passed::Text(passed.to_owned())
    }

    #[test]
    fn text_without_a_stop_string_passes_unchanged() {
        let mut filter = StopFilter::new(vec![]);
        assert_eq!(filter.push("In the"), text("In the"));
        assert_eq!(filter.finish(), "");
    }

    #[test]
    fn a_stop_string_across_pieces_is_not_shown() {
        let mut filter = StopFilter::new(vec!["\n\n".into()]);
        assert_eq!(filter.push("light.\n"), text("light."));
        assert_eq!(filter.push("\nAnd"), Passed::Stopped(String::new()));
    }

    #[test]
    fn a_beginning_that_goes_on_otherwise_is_shown_after_all() {
        let mut filter = StopFilter::new(vec!["Selah".into()]);
        assert_eq!(filter.push(" Se"), text(" "));
        assert_eq!(filter.push("th"), text("Seth"));
    }

    #[test]
    fn the_earliest_of_several_stop_strings_ends_the_text() {
        let mut filter = StopFilter::new(vec!["waters".into(), "the".into()]);
        assert_eq!(filter.push("upon the waters"), Passed::Stopped("upon ".to_owned()));
    }

    #[test]
    fn a_character_of_several_bytes_is_never_cut() {
        let mut filter = StopFilter::new(vec!["éa".into()]);
        assert_eq!(filter.push("xé"), text("x"));
        assert_eq!(filter.push("é"), text("é"));
        assert_eq!(filter.finish(), "é");
    }
}
