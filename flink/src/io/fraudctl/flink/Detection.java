package io.fraudctl.flink;

import java.util.*;

/**
 * The rule: which transactions are detected, once, and by which flag event. Knows neither Flink nor Kafka.
 *
 * <p>The clock is the publish time up to which everything is read. A transaction is decided once the clock is within slack of it,
 * and again by each flag event published within hold of it. Publish times decide, never the order of reading: a flag event read
 * early has no part in what is decided about moments before its publication.
 */
@SuppressWarnings("serial")
final class Detection implements java.io.Serializable {
  private static final int KEPT_FLAGS = 64;
  private static final int FLAGS = 0, WAITING = 1, DECIDED = 2; // lists: flag events; undecided; from here on undetected, by age
  private static final long TICK = 1000; // how finely time is cut, so that wake-ups are few
  private static final Comparator<Event> BY_PUBLISHED = Comparator.comparingLong(Event::published);

  /** What is remembered of one account, and what can be done for it. */
  interface Account {
    List<Event> list(int list) throws Exception;
    void add(int list, Event event) throws Exception;
    void set(int list, List<Event> events) throws Exception;
    void drop(int list) throws Exception; // all of it, as every account does at this time
    Long emitted(String identity) throws Exception; // copies published till then give no output; null for a new identity
    void emitted(String identity, long until) throws Exception;
    void forget(long clock) throws Exception; // the identities whose time is over
    void wake(long time) throws Exception; // calls Detection.wake when the clock is there, once even if asked twice
    void emit(Event transaction, Event flag) throws Exception;
  }

  private final long hold, slack, age; // transactions published within one age lie in one list, which is dropped whole
  private final int ages; // as many as are in use at once: no list ever holds two ages

  Detection(long hold, long slack) {
    this.hold = hold;
    this.slack = slack;
    age = Math.max(1, hold / 2 / TICK) * TICK;
    ages = (int) ((hold + slack) / age) + 2;
  }

  /** How many lists an account has. */
  int lists() { return DECIDED + ages; }

  void transaction(Event transaction, long clock, Account account) throws Exception {
    if (due(transaction) <= clock) {
      decide(transaction, clock, account);
    } else {
      account.add(WAITING, transaction);
      account.wake(due(transaction));
    }
  }

  void flag(Event flag, long clock, Account account) throws Exception {
    List<Event> flags = new ArrayList<>(account.list(FLAGS)), detected = new ArrayList<>();
    int at = flags.size();
    while (at > 0 && flags.get(at - 1).published() > flag.published()) at--;
    flags.add(at, flag);
    account.set(FLAGS, needed(flags, clock));
    if (flags.size() > KEPT_FLAGS) account.wake(over(flag, clock));
    for (int list = DECIDED; list < lists(); list++) {
      List<Event> all = account.list(list), left = new ArrayList<>();
      for (Event transaction : all) (detect(flags, at + 1, transaction) == null ? left : detected).add(transaction);
      if (left.size() < all.size()) account.set(list, left);
    }
    detected.sort(BY_PUBLISHED);
    for (Event transaction : detected) emit(transaction, detect(flags, at + 1, transaction), clock, account);
  }

  /** The clock has reached a time that was asked for. Those times come in their order, even if the clock leaps. */
  void wake(long time, Account account) throws Exception {
    List<Event> due = new ArrayList<>(), left = new ArrayList<>();
    for (Event transaction : account.list(WAITING)) (due(transaction) <= time ? due : left).add(transaction);
    if (!due.isEmpty()) account.set(WAITING, left);
    due.sort(BY_PUBLISHED);
    for (Event transaction : due) decide(transaction, time, account);
    if (Math.floorMod(time - hold, age) != 0) return;
    account.drop(list(time - hold - age));
    List<Event> flags = account.list(FLAGS);
    if (!flags.isEmpty()) account.forget(time);
    if (flags.size() > KEPT_FLAGS) account.set(FLAGS, needed(flags, time));
  }

  private void decide(Event transaction, long clock, Account account) throws Exception {
    List<Event> flags = account.list(FLAGS);
    int known = flags.size();
    while (known > 0 && flags.get(known - 1).published() > transaction.published()) known--;
    Event flag = detect(flags, known, transaction);
    if (flag != null) {
      emit(transaction, flag, clock, account);
    } else if (clock < transaction.published() + hold) { // else every flag event that reaches back to it is known
      account.add(list(transaction.published()), transaction);
      account.wake(over(transaction, clock));
    }
  }

  private void emit(Event transaction, Event flag, long clock, Account account) throws Exception {
    String identity = transaction.date() + " " + transaction.text();
    Long until = account.emitted(identity);
    if (until != null && transaction.published() <= until) return;
    account.emitted(identity, transaction.published() + hold);
    account.wake(over(transaction, clock));
    account.emit(transaction, flag);
  }

  /** Finds the flag event that detects the transaction: looks at the first `known` ones, then at one more each time. */
  private Event detect(List<Event> flags, int known, Event transaction) {
    for (int n = known; n <= flags.size(); n++) {
      if (n > 0 && flags.get(n - 1).published() > transaction.published() + hold) return null;
      Event inForce = null;
      for (Event flag : flags.subList(Math.max(0, n - KEPT_FLAGS), n)) {
        if (flag.date() <= transaction.date() && (inForce == null || flag.date() >= inForce.date())) inForce = flag;
      }
      if (inForce != null && inForce.kind() == Event.FLAGGED) return inForce;
    }
    return null;
  }

  /** Leaves out the flag events that no transaction within hold of the clock can ask for any more. */
  private List<Event> needed(List<Event> flags, long clock) {
    int settled = 0;
    while (settled < flags.size() && flags.get(settled).published() + hold <= clock) settled++;
    return new ArrayList<>(flags.subList(Math.max(0, settled - KEPT_FLAGS), flags.size()));
  }

  private long due(Event transaction) { return -Math.floorDiv(slack - transaction.published(), TICK) * TICK; }

  /** When nothing of the event's age is within hold any more; for one that is read later than that, of the oldest age in use. */
  private long over(Event event, long clock) {
    long oldest = clock > Long.MIN_VALUE + hold ? clock - hold : Long.MIN_VALUE;
    return (Math.floorDiv(Math.max(event.published(), oldest), age) + 1) * age + hold;
  }

  private int list(long published) {
    return DECIDED + (int) Math.floorMod(Math.floorDiv(published, age), (long) ages);
  }
}
