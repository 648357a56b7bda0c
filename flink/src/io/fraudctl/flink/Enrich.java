package io.fraudctl.flink;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.*;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.streaming.api.TimerService;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** {@link Detection} in Flink: keyed state for its memory, event-time timers for its wake-ups, JSON for what it detects. */
@SuppressWarnings("serial")
final class Enrich extends KeyedProcessFunction<Long, Event, Event> implements Detection.Account {
  private final long hold, slack;
  private transient Detection detection;
  private transient ListState<Event> flags;
  private transient List<ListState<Event>> transactions;
  private transient MapState<String, Long> emitted;
  private transient long[] kept; // transactions in each list, all accounts together, counted from the last start on
  private transient Counter detected, lateFlags;
  private transient TimerService timers;
  private transient Collector<Event> out;

  Enrich(long hold, long slack) {
    this.hold = hold;
    this.slack = slack;
  }

  @Override
  public void open(OpenContext context) {
    detection = new Detection(hold, slack);
    flags = list("flags");
    transactions = new ArrayList<>();
    for (int i = 0; i < detection.lists(); i++) transactions.add(list("transactions-" + i));
    emitted = getRuntimeContext().getMapState(new MapStateDescriptor<>("emitted", Types.STRING, Types.LONG));
    kept = new long[detection.lists()];
    MetricGroup metrics = Main.metrics(getRuntimeContext());
    detected = metrics.counter("detected");
    lateFlags = metrics.counter("lateFlagsApplied");
    metrics.gauge("pending", () -> Arrays.stream(kept).sum());
    metrics.gauge("eventTimeLagMs", () -> clock() == Long.MIN_VALUE ? -1 : System.currentTimeMillis() - clock());
  }

  private ListState<Event> list(String name) {
    return getRuntimeContext().getListState(new ListStateDescriptor<>(name, Event.TYPE));
  }

  private long clock() {
    return timers == null ? Long.MIN_VALUE : timers.currentWatermark();
  }

  @Override
  public void processElement(Event event, Context context, Collector<Event> collector) throws Exception {
    timers = context.timerService();
    out = collector;
    if (event.kind == Event.TRANSACTION) detection.transaction(event, clock(), this);
    else detection.flag(event, clock(), this);
  }

  @Override
  public void onTimer(long time, OnTimerContext context, Collector<Event> collector) throws Exception {
    timers = context.timerService();
    out = collector;
    detection.wake(time, this);
  }

  @Override public List<Event> flags() throws Exception { return read(flags); }
  @Override public void flags(List<Event> events) throws Exception { flags.update(events); }
  @Override public List<Event> transactions(int list) throws Exception { return read(transactions.get(list)); }
  @Override public Long emitted(String identity) throws Exception { return emitted.get(identity); }
  @Override public void emitted(String identity, long until) throws Exception { emitted.put(identity, until); }
  @Override public void wake(long time) { timers.registerEventTimeTimer(time); }

  @Override
  public void add(int list, Event transaction) throws Exception {
    transactions.get(list).add(transaction);
    kept[list]++;
  }

  @Override
  public void replace(int list, List<Event> left, int gone) throws Exception {
    transactions.get(list).update(left);
    kept[list] = Math.max(0, kept[list] - gone);
  }

  @Override
  public void drop(int list) {
    transactions.get(list).clear();
    kept[list] = 0; // every account drops it at this time
  }

  @Override
  public void forget(long clock) throws Exception {
    for (Iterator<Map.Entry<String, Long>> i = emitted.iterator(); i.hasNext(); ) if (i.next().getValue() <= clock) i.remove();
  }

  /** Puts the flag event's members, and where both records lie, before the last brace of the transaction's own bytes. */
  @Override
  public void emit(Event transaction, Event flag) {
    detected.inc();
    if (flag.published > transaction.published) lateFlags.inc();
    int end = transaction.value.length - 1;
    while (transaction.value[end] != '}') end--;
    byte[] places = String.format(",\"transaction_partition\":%d,\"transaction_offset\":%d,\"flag_partition\":%d,\"flag_offset\":%d}",
        transaction.partition, transaction.offset, flag.partition, flag.offset).getBytes(StandardCharsets.US_ASCII);
    Event detection = transaction.copy();
    detection.kind = Event.DETECTION;
    detection.value = ByteBuffer.allocate(end + 1 + flag.value.length + places.length)
        .put(transaction.value, 0, end).put((byte) ',').put(flag.value).put(places).array();
    out.collect(detection);
  }

  private static List<Event> read(ListState<Event> state) throws Exception {
    if (state.get() instanceof List<Event> list) return list;
    List<Event> copy = new ArrayList<>();
    state.get().forEach(copy::add);
    return copy;
  }
}
