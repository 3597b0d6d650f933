//! Whether a licence expression (SPDX, as crates write it) can be met with the licences that the project accepts.
//!
//! `A OR B` is met if one side is, `A AND B` if both are; crates of an older time write `/` for `OR`. What cannot
//! be read is not met: an unknown licence is a question for a person.

/// True if `expression` can be met with `allowed` alone.
pub(crate) fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    reader.either() == Some(true) && reader.words.is_empty()
}

/// A reader of one expression by recursive descent; `None` is "not an expression".
struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
}

impl Reader<'_> {
    fn either(&mut self) -> Option<bool> {
        let mut met = self.both()?;
        while self.take("OR") {
            met |= self.both()?;
        }
        Some(met)
    }

    fn both(&mut self) -> Option<bool> {
        let mut met = self.licence()?;
        while self.take("AND") {
            met &= self.licence()?;
        }
        Some(met)
    }

    fn licence(&mut self) -> Option<bool> {
        if self.take("(") {
            let met = self.either()?;
            return self.take(")").then_some(met);
        }
        let mut name = self.next()?.to_owned();
        if self.take("WITH") {
            name = format!("{name} WITH {}", self.next()?);
        }
        Some(self.allowed.contains(&name))
    }

    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    //! Proves that an expression is met exactly when the accepted licences suffice, and that nonsense is not met.

    use super::is_met;

    fn met(expression: &str) -> bool {
        let allowed = ["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        is_met(expression, &allowed)
    }

    #[test]
    fn one_accepted_side_of_an_or_suffices() {
        assert!(met("MIT") && met("MIT OR GPL-3.0") && met("GPL-3.0/MIT") && met("Unlicense / MIT"));
        assert!(!met("GPL-3.0 OR AGPL-3.0"));
    }

    #[test]
    fn both_sides_of_an_and_are_needed() {
        assert!(met("ISC AND (Apache-2.0 OR GPL-3.0)") && met("(MIT OR Apache-2.0) AND ISC"));
        assert!(!met("MIT AND GPL-3.0") && !met("ISC AND (GPL-3.0 OR AGPL-3.0)"));
    }

    #[test]
    fn an_exception_is_part_of_the_licence() {
        assert!(met("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
        assert!(!met("MIT WITH LLVM-exception"));
    }

    #[test]
    fn what_cannot_be_read_is_not_met() {
        for expression in ["", "MIT OR", "(MIT", "MIT ISC", "MIT)", "AND MIT"] {
            assert!(!met(expression), "`{expression}`");
        }
    }
}
