//! Goes through the history of a run and says what the broker must not have done.
//!
//! What nobody knows is held in the broker's favour: an operation without an answer may have happened or not. What a
//! broker answered is held against it, whether or not the client heard it. Stamps are taken at their word where they are
//! compared with each other, and must keep to the clock as far as the clocks agree.

mod bodies;
mod dead_letters;
mod deduplication;
mod deletes;
mod index;
mod leases;
mod loss;
mod operator;
mod order;
mod purges;
mod rewinds;
mod times;

use crate::finding::Verdict;
use crate::history::History;
use crate::plan::Plan;
use crate::tally::Tally;
use index::Index;

/// Checks all rules. In the end of a run that `is_complete` nothing is left in the queues.
///
/// # Errors
/// The first rule that was broken.
pub fn check(history: &History, plan: &Plan, is_complete: bool, tally: &mut Tally) -> Verdict {
    let index = Index::new(history, plan.skew_ms);
    bodies::check(&index)?;
    leases::check(&index)?;
    deletes::check(&index)?;
    order::check(&index)?;
    deduplication::check(&index, tally)?;
    dead_letters::check(&index)?;
    times::check(&index)?;
    purges::check(&index, plan.replicas)?;
    operator::check(&index)?;
    rewinds::check(&index, tally)?;
    if is_complete {
        loss::check(&index)?;
        rewinds::check_all_came_back(&index)?;
    }
    Ok(())
}
