//! What an `UPDATE` sets, put together clause by clause.

use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

/// Clauses such as `name = ?`, and their values.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    clauses: Vec<String>,
    values: Vec<Value>,
}

#[derive(Debug)]
enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

impl Sets {
    /// `clause` has one parameter, a text.
    pub(crate) fn text(&mut self, clause: impl Into<String>, text: impl Into<Option<String>>) {
        self.clauses.push(clause.into());
        self.values.push(Value::Text(text.into()));
    }

    /// `clause` has one parameter, a number.
    pub(crate) fn number(&mut self, clause: impl Into<String>, number: impl Into<Option<i64>>) {
        self.clauses.push(clause.into());
        self.values.push(Value::Number(number.into()));
    }

    /// What follows `SET`, if what comes before is `first`.
    pub(crate) fn after(&self, first: &str) -> String {
        let rest = self.clauses.iter().map(String::as_str);
        std::iter::once(first).chain(rest).collect::<Vec<_>>().join(", ")
    }

    /// Gives a statement the values of its next parameters.
    pub(crate) fn bind<'q>(
        &self,
        query: Query<'q, Any, AnyArguments>,
    ) -> Query<'q, Any, AnyArguments> {
        self.values.iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text.clone()),
            Value::Number(number) => query.bind(*number),
        })
    }
}
