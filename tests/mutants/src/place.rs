//! Writes mutants into source code, each behind a question that is asked when the code runs.
//!
//! In: a file and its mutants, as cargo-mutants lists them. Out: a file that behaves as before until
//! `crate::mutant(n)` says that mutant `n` is on; and those mutants that can't be chosen at run time (in
//! constants, in `const fn`, behind `impl Trait`), for cargo-mutants itself.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use proc_macro2::{LineColumn, Span};
use quote::ToTokens as _;
use syn::spanned::Spanned as _;
use syn::visit_mut::{self, VisitMut};
use syn::{Arm, BinOp, Block, Expr, ExprBinary, ImplItemFn, ItemFn, Signature, UnOp, parse_quote};

use crate::list::{Genre, Mutant};

/// The file with its mutants, and the numbers of those that were placed.
pub fn place(source: &str, mutants: &[&Mutant]) -> anyhow::Result<(String, BTreeSet<usize>)> {
    let mut file = syn::parse_file(source).context("the source parses")?;
    let mut by_place: BTreeMap<(Genre, usize, usize), Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        let start = mutant.span.start;
        by_place.entry((mutant.genre, start.line, start.column)).or_default().push(mutant);
    }
    let mut writer = Writer { by_place, placed: BTreeSet::new(), is_const: false };
    writer.visit_file_mut(&mut file);
    Ok((prettyplease::unparse(&file), writer.placed))
}

struct Writer<'a> {
    by_place: BTreeMap<(Genre, usize, usize), Vec<&'a Mutant>>,
    placed: BTreeSet<usize>,
    /// Whether the compiler runs the code.
    is_const: bool,
}

impl<'a> Writer<'a> {
    fn at(&self, genre: Genre, start: LineColumn) -> Vec<&'a Mutant> {
        let key = (genre, start.line, start.column + 1);
        match self.is_const {
            true => Vec::new(),
            false => self.by_place.get(&key).cloned().unwrap_or_default(),
        }
    }

    fn function(&mut self, signature: &Signature, block: &mut Block) {
        let was_const = self.is_const;
        self.is_const |= signature.constness.is_some();
        let start = block.stmts.first().map(|first| first.span().start());
        visit_mut::visit_block_mut(self, block);
        let is_opaque = signature.output.to_token_stream().to_string().contains("impl ");
        if let (Some(start), false) = (start, is_opaque) {
            let mut first = Vec::new();
            for mutant in self.at(Genre::FnValue, start) {
                let (n, value) = (mutant.n, syn::parse_str::<Expr>(&mutant.replacement));
                // `vec![]` and `()` are expressions, too.
                if let Ok(value) = value {
                    first.push(parse_quote! { if crate::mutant(#n) { return #value; } });
                    self.placed.insert(n);
                }
            }
            block.stmts.splice(0..0, first);
        }
        self.is_const = was_const;
    }

    fn binary(&mut self, expression: &ExprBinary, start: LineColumn) -> Option<Expr> {
        // `a && let b = c` is no expression of its own.
        let is_let = |side: &Expr| {
            matches!(side, Expr::Let(_)) || side.to_token_stream().to_string().contains("let ")
        };
        if matches!(expression.op, BinOp::And(_))
            && (is_let(&expression.left) || is_let(&expression.right))
        {
            return None;
        }
        let mut whole = Expr::Binary(expression.clone());
        let mutants = self.at(Genre::BinaryOperator, start);
        for mutant in &mutants {
            let (n, operator) = (mutant.n, syn::parse_str::<BinOp>(&mutant.replacement).ok()?);
            let mut other = expression.clone();
            other.op = operator;
            whole = parse_quote! { (if crate::mutant(#n) { #other } else { #whole }) };
            self.placed.insert(n);
        }
        (!mutants.is_empty()).then_some(whole)
    }
}

impl VisitMut for Writer<'_> {
    fn visit_item_fn_mut(&mut self, item: &mut ItemFn) {
        self.function(&item.sig, &mut item.block);
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut ImplItemFn) {
        self.function(&item.sig, &mut item.block);
    }

    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}

    fn visit_arm_mut(&mut self, arm: &mut Arm) {
        let guard = arm.guard.as_ref().map(|(_, guard)| guard.span().start());
        let start = arm.span().start();
        visit_mut::visit_arm_mut(self, arm);
        if let (Some(start), Some((_, guard))) = (guard, &mut arm.guard) {
            for mutant in self.at(Genre::MatchArmGuard, start) {
                let (n, value) = (mutant.n, syn::parse_str::<Expr>(&mutant.replacement));
                if let Ok(value) = value {
                    **guard = parse_quote! { (if crate::mutant(#n) { #value } else { #guard }) };
                    self.placed.insert(n);
                }
            }
        }
        for mutant in self.at(Genre::MatchArm, start) {
            let n = mutant.n;
            let guard: Expr = match arm.guard.take() {
                Some((_, guard)) => parse_quote! { !crate::mutant(#n) && (#guard) },
                None => parse_quote! { !crate::mutant(#n) },
            };
            arm.guard = Some((syn::Token![if](Span::call_site()), Box::new(guard)));
            self.placed.insert(n);
        }
    }

    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        let operator = match expression {
            Expr::Binary(binary) => Some(binary.op.span().start()),
            Expr::Unary(unary) => Some(unary.op.span().start()),
            _ => None,
        };
        visit_mut::visit_expr_mut(self, expression);
        let changed = match (&*expression, operator) {
            (Expr::Binary(binary), Some(start)) => self.binary(&binary.clone(), start),
            (Expr::Unary(unary), Some(start)) if !matches!(unary.op, UnOp::Deref(_)) => {
                let (whole, inner) = (expression.clone(), unary.expr.clone());
                self.at(Genre::UnaryOperator, start).first().map(|mutant| {
                    let n = mutant.n;
                    self.placed.insert(n);
                    parse_quote! { (if crate::mutant(#n) { #inner } else { #whole }) }
                })
            }
            _ => None,
        };
        if let Some(changed) = changed {
            *expression = changed;
        }
    }
}
