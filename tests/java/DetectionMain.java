package io.fraudctl.flink;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/**
 * Runs {@link Detection} over histories on standard input, as Flink would: keyed memory, and wake-ups in the order of time
 * when the clock advances. Lines of a history, times in milliseconds:
 *
 * <pre>
 * history HOLD SLACK
 * t PUBLISHED ACCOUNT DATE OFFSET ID
 * f PUBLISHED ACCOUNT DATE FLAGGED|CLEARED OFFSET
 * c CLOCK
 * end
 * </pre>
 *
 * The answer: "detected TRANSACTION_OFFSET FLAG_OFFSET" for each detection in its order, then "end" with the number of flag
 * events, transactions and identities that are still remembered.
 */
public final class DetectionMain {
  private record Wake(long time, long account) {}

  private static final class Memory implements Detection.Account {
    final long account;
    final TreeSet<Wake> wakes;
    final PrintStream out;
    final List<List<Event>> lists = new ArrayList<>();
    final Map<String, Long> emitted = new HashMap<>();

    Memory(long account, int count, TreeSet<Wake> wakes, PrintStream out) {
      this.account = account;
      this.wakes = wakes;
      this.out = out;
      for (int i = 0; i < count; i++) lists.add(new ArrayList<>());
    }

    @Override public List<Event> list(int list) { return List.copyOf(lists.get(list)); }
    @Override public void add(int list, Event event) { lists.get(list).add(event); }
    @Override public void set(int list, List<Event> events) { lists.set(list, new ArrayList<>(events)); }
    @Override public void drop(int list) { lists.get(list).clear(); }
    @Override public Long emitted(String identity) { return emitted.get(identity); }
    @Override public void emitted(String identity, long until) { emitted.put(identity, until); }
    @Override public void forget(long clock) { emitted.values().removeIf(until -> until <= clock); }
    @Override public void wake(long time) { wakes.add(new Wake(time, account)); }

    @Override
    public void emit(Event transaction, Event flag) {
      out.println("detected " + transaction.offset() + " " + flag.offset());
    }
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    PrintStream out = new PrintStream(System.out, false);
    for (String line; (line = in.readLine()) != null; ) {
      String[] part = line.split(" ");
      run(in, out, new Detection(Long.parseLong(part[1]), Long.parseLong(part[2])));
      out.flush();
    }
  }

  private static void run(BufferedReader in, PrintStream out, Detection detection) throws Exception {
    TreeSet<Wake> wakes = new TreeSet<>(Comparator.comparingLong(Wake::time).thenComparingLong(Wake::account));
    Map<Long, Memory> memories = new HashMap<>();
    long clock = Long.MIN_VALUE;
    for (String[] part; !(part = in.readLine().split(" "))[0].equals("end"); ) {
      if (part[0].equals("c")) {
        clock = Math.max(clock, Long.parseLong(part[1]));
        while (!wakes.isEmpty() && wakes.first().time <= clock) {
          Wake wake = wakes.pollFirst();
          detection.wake(wake.time, memories.get(wake.account));
        }
        continue;
      }
      long published = Long.parseLong(part[1]), account = Long.parseLong(part[2]), date = Long.parseLong(part[3]);
      Memory memory = memories.computeIfAbsent(account, key -> new Memory(key, detection.lists(), wakes, out));
      if (part[0].equals("t")) {
        long offset = Long.parseLong(part[4]);
        detection.transaction(new Event(Event.TRANSACTION, account, date, published, 0, offset, part[5], null, null, null), clock, memory);
      } else {
        byte kind = part[4].equals("FLAGGED") ? Event.FLAGGED : Event.CLEARED;
        detection.flag(new Event(kind, account, date, published, 0, Long.parseLong(part[5]), "", null, null, null), clock, memory);
      }
    }
    int flags = 0, transactions = 0, emitted = 0;
    for (Memory memory : memories.values()) {
      flags = Math.max(flags, memory.lists.get(0).size());
      for (List<Event> list : memory.lists.subList(1, memory.lists.size())) transactions += list.size();
      emitted += memory.emitted.size();
    }
    out.println("end " + flags + " " + transactions + " " + emitted);
  }
}
