//! Commands on a builder's settings: hours, replicas, overload, part power.

use apus_ring::python;

use super::output::CommandError;
use super::session::Session;
use super::{CommandResult, Exit, usage};

pub(super) fn pretend_min_part_hours_passed(session: &mut Session) -> CommandResult {
    session.builder.pretend_min_part_hours_passed();
    session.builder.last_moves_epoch = 0;
    session.save()?;
    Ok(Exit::Success)
}

pub(super) fn set_min_part_hours(session: &mut Session, arguments: &[String]) -> CommandResult {
    let text = arguments.first().ok_or_else(|| usage("set_min_part_hours"))?;
    let hours = python::int(text).map_err(CommandError::uncaught)?;
    session.builder.min_part_hours = u64::try_from(hours)
        .map_err(|_| format!("min_part_hours must be non-negative (was {hours})"))?;
    session.out.say(format!(
        "The minimum number of hours before a partition can be reassigned is now set to {text}"
    ));
    session.out.set("min_part_hours", hours);
    session.save()?;
    Ok(Exit::Success)
}

const LATER: &str = "The change will take effect after the next rebalance.";

pub(super) fn set_replicas(session: &mut Session, arguments: &[String]) -> CommandResult {
    let text = arguments.first().ok_or_else(|| usage("set_replicas"))?;
    let replicas = python::float(text).map_err(|_| format!("\"{text}\" is not a valid number."))?;
    if replicas < 1.0 {
        return Err("Replica count must be at least 1.".into());
    }
    session.builder.set_replicas(replicas);
    session.out.say(format!("The replica count is now {replicas:.6}.\n{LATER}"));
    session.out.set("replicas", replicas);
    session.save()?;
    Ok(Exit::Success)
}

pub(super) fn set_overload(session: &mut Session, arguments: &[String]) -> CommandResult {
    let text = arguments.first().ok_or_else(|| usage("set_overload"))?;
    let number = text.trim_end_matches('%');
    let is_percent = text.ends_with('%');
    let overload = python::float(number)
        .map_err(|_| format!("{} is not a valid number.", python::repr(number)))?;
    let overload = if is_percent { overload * 0.01 } else { overload };
    if overload < 0.0 {
        return Err("Overload must be non-negative.".into());
    }
    let mut exit = Exit::Success;
    if overload > 1.0 && !is_percent {
        session.out.say("!?! Warning overload is greater than 100% !?!");
        exit = Exit::Warning;
    }
    session.builder.overload = overload;
    session.out.say(format!(
        "The overload factor is now {:.2}% ({overload:.6})\n{LATER}",
        overload * 100.0
    ));
    session.out.set("overload", overload);
    session.save()?;
    Ok(exit)
}

const NEXT_WRITE: &str = "The change will take effect after the next write_ring.";

pub(super) fn prepare_increase_partition_power(session: &mut Session) -> CommandResult {
    let name = session.names.builder.file_name().unwrap_or_default().to_string_lossy();
    if !name.contains("object") {
        return Err("Partition power increase is only supported for object rings.".into());
    }
    if session.builder.part_power >= 32 {
        return Err("part_power must be at most 32 (was 33)".into());
    }
    if !session.builder.prepare_increase_partition_power() {
        return Err("Ring is already prepared for partition power increase.".into());
    }
    session.save()?;
    session.out.say(format!(
        "The next partition power is now {}.\n{NEXT_WRITE}\n\
         Ensure your proxy-servers, object-replicators and \n\
         reconstructors are using the changed rings and relink \n\
         (using swift-object-relinker) your existing data\n\
         before the partition power increase",
        session.builder.part_power + 1
    ));
    show_part_powers(session)
}

pub(super) fn increase_partition_power(session: &mut Session) -> CommandResult {
    if !session.builder.increase_partition_power() {
        return Err("Ring partition power cannot be increased. Either the ring\n\
                    was not prepared yet, or this operation has already run."
            .into());
    }
    session
        .out
        .say(format!("The partition power is now {}.\n{NEXT_WRITE}", session.builder.part_power));
    session.builder.age_moves_to(session.now_seconds);
    session.save()?;
    show_part_powers(session)
}

pub(super) fn cancel_increase_partition_power(session: &mut Session) -> CommandResult {
    if !session.builder.cancel_increase_partition_power() {
        return Err("Ring partition power increase cannot be canceled.".into());
    }
    session.save()?;
    session.out.say(format!(
        "The next partition power is now {}.\n{NEXT_WRITE}\n\
         Ensure your object-servers are using the changed rings and\n\
         cleanup (using swift-object-relinker) the hard links",
        session.builder.part_power
    ));
    show_part_powers(session)
}

pub(super) fn finish_increase_partition_power(session: &mut Session) -> CommandResult {
    if !session.builder.finish_increase_partition_power() {
        return Err("Ring partition power increase cannot be finished.".into());
    }
    session.out.say(NEXT_WRITE);
    session.save()?;
    show_part_powers(session)
}

fn show_part_powers(session: &mut Session) -> CommandResult {
    session.out.set("part_power", session.builder.part_power);
    session.out.set("next_part_power", session.builder.next_part_power);
    Ok(Exit::Success)
}
