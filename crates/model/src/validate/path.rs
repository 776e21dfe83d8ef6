//! Where in an event a check stands.

use std::cell::RefCell;

use super::{Invalid, MOST_VIOLATIONS};

/// The faults so far: of each field the first.
#[derive(Default)]
pub(super) struct Found(RefCell<Vec<Invalid>>);

impl Found {
    fn is_full(&self) -> bool {
        self.0.borrow().len() == MOST_VIOLATIONS
    }

    fn add(&self, invalid: Invalid) {
        let mut found = self.0.borrow_mut();
        if found.iter().all(|other| other.field != invalid.field) {
            found.push(invalid);
        }
    }

    pub(super) fn into_vec(self) -> Vec<Invalid> {
        self.0.into_inner()
    }
}

/// A path that lives on the stack and is written out only for an error, so
/// that a right event costs no allocation.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step,
    found: &'a Found,
}

#[derive(Clone, Copy)]
enum Step {
    Root,
    Field(&'static str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(super) fn root(found: &'a Found) -> Self {
        Self { parent: None, step: Step::Root, found }
    }

    pub(super) fn field(&'a self, name: &'static str) -> Self {
        Self { parent: Some(self), step: Step::Field(name), found: self.found }
    }

    pub(super) fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index), found: self.found }
    }

    /// Notes what is wrong here.
    pub(super) fn fail(&self, message: impl Into<String>) {
        if self.found.is_full() {
            return;
        }
        let mut field = String::new();
        self.write(&mut field);
        self.found.add(Invalid { field, message: message.into() });
    }

    fn write(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(out);
        }
        match self.step {
            Step::Root => {}
            Step::Field(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Index(index) => {
                out.push('[');
                out.push_str(&index.to_string());
                out.push(']');
            }
        }
    }
}
