package io.fraudctl.flink;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.*;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.metrics.*;
import org.apache.flink.streaming.api.TimerService;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** {@link Detection} in Flink: keyed state for its memory, event-time timers for its wake-ups, JSON for what it detects. */
@SuppressWarnings("serial")
final class Enrich extends KeyedProcessFunction<Long, Event, Event> implements Detection.Account {
  private final Detection detection;
  private transient ListState<Event>[] lists;
  private transient MapState<String, Long> emitted;
  private transient long[] kept; // events in each list, all accounts together, since the last start
  private transient int size; // of the list that was read last
  private transient Counter detected, lateFlags;
  private transient TimerService timers;
  private transient Collector<Event> out;

  Enrich(Detection detection) { this.detection = detection; }

  @SuppressWarnings("unchecked")
  @Override public void open(OpenContext context) {
    kept = new long[detection.lists()];
    lists = new ListState[detection.lists()];
    Arrays.setAll(lists, i -> getRuntimeContext().getListState(new ListStateDescriptor<>("list-" + i, Event.TYPE)));
    emitted = getRuntimeContext().getMapState(new MapStateDescriptor<>("emitted", Types.STRING, Types.LONG));
    MetricGroup metrics = Main.metrics(getRuntimeContext());
    detected = metrics.counter("detected");
    lateFlags = metrics.counter("lateFlagsApplied");
    getRuntimeContext().getMetricGroup().gauge("observedAtMs", System::currentTimeMillis); // how old the others are
    metrics.gauge("pending", () -> Arrays.stream(kept).skip(1).sum()); // the first are flag events
    metrics.gauge("eventTimeLagMs", () -> clock() == Long.MIN_VALUE ? -1 : System.currentTimeMillis() - clock());
  }

  private long clock() { return timers == null ? Long.MIN_VALUE : timers.currentWatermark(); }

  @Override public void processElement(Event event, Context context, Collector<Event> collector) throws Exception {
    timers = context.timerService();
    out = collector;
    if (event.kind() == Event.TRANSACTION) detection.transaction(event, clock(), this);
    else detection.flag(event, clock(), this);
  }

  @Override public void onTimer(long time, OnTimerContext context, Collector<Event> collector) throws Exception {
    timers = context.timerService();
    out = collector;
    detection.wake(time, this);
  }

  @Override public List<Event> list(int list) throws Exception {
    List<Event> events = new ArrayList<>();
    if (lists[list].get() instanceof List<Event> same) events = same;
    else lists[list].get().forEach(events::add);
    size = events.size();
    return events;
  }

  @Override public void add(int list, Event event) throws Exception {
    lists[list].add(event);
    kept[list]++;
  }

  @Override public void set(int list, List<Event> events) throws Exception {
    lists[list].update(events);
    kept[list] = Math.max(0, kept[list] + events.size() - size);
  }

  @Override public void drop(int list) {
    lists[list].clear();
    kept[list] = 0;
  }

  @Override public void forget(long clock) throws Exception {
    for (Iterator<Map.Entry<String, Long>> i = emitted.iterator(); i.hasNext(); ) if (i.next().getValue() <= clock) i.remove();
  }

  @Override public Long emitted(String identity) throws Exception { return emitted.get(identity); }
  @Override public void emitted(String identity, long until) throws Exception { emitted.put(identity, until); }
  @Override public void wake(long time) { timers.registerEventTimeTimer(time); }

  /** Puts the flag event's members, and where both records lie, before the last brace of the transaction's own bytes. */
  @Override public void emit(Event transaction, Event flag) {
    detected.inc();
    if (flag.published() > transaction.published()) lateFlags.inc();
    byte[] json = transaction.value();
    int end = json.length - 1;
    while (json[end] != '}') end--;
    byte[] places = (",\"transaction_partition\":" + transaction.partition() + ",\"transaction_offset\":" + transaction.offset()
        + ",\"flag_partition\":" + flag.partition() + ",\"flag_offset\":" + flag.offset() + "}")
        .getBytes(StandardCharsets.US_ASCII);
    byte[] value = ByteBuffer.allocate(end + 1 + flag.value().length + places.length)
        .put(json, 0, end).put((byte) ',').put(flag.value()).put(places).array();
    out.collect(new Event(Event.DETECTION, transaction.account(), 0, 0, 0, 0, "", value, null, null));
  }
}
