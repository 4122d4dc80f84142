//! Unique names, found without looking at all of them.

use std::collections::HashMap;

/// Names that have been given out. One stays taken even when its bearer goes, so that texts of two stages of a
/// compilation speak of the same thing by the same name.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Behind each name the least number that may still make a free one of it.
    next: HashMap<String, u32>,
}

impl Names {
    /// `stem` if it is free, else `stem.N` with the least `N` from 1 on that is. The name is taken.
    pub(super) fn unique(&mut self, stem: &str) -> String {
        let Some(&first) = self.next.get(stem) else {
            self.take(stem);
            return stem.to_owned();
        };
        let mut number = first;
        loop {
            let name = format!("{stem}.{number}");
            number += 1;
            if self.take(&name) {
                self.next.insert(stem.to_owned(), number);
                return name;
            }
        }
    }

    /// Takes a name as it is; whether it was free.
    pub(super) fn take(&mut self, name: &str) -> bool {
        if self.next.contains_key(name) {
            return false;
        }
        self.next.insert(name.to_owned(), 1).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_least_free_ones() {
        let mut names = Names::default();
        assert!(names.take("t.2"));
        let found: Vec<String> = (0..4).map(|_| names.unique("t")).collect();
        assert_eq!(found, ["t", "t.1", "t.3", "t.4"]);
        assert_eq!(names.unique("t.1"), "t.1.1");
        assert!(!names.take("t.4"));
    }
}
