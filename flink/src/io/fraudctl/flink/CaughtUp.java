package io.fraudctl.flink;

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.locks.LockSupport;
import org.apache.flink.api.common.eventtime.*;
import org.apache.flink.api.connector.source.*;
import org.apache.flink.connector.kafka.source.enumerator.KafkaSourceEnumState;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.slf4j.LoggerFactory;

/**
 * A Kafka source whose watermarks are the clock: the publish time up to which its partitions are read for certain.
 *
 * <p>Silence proves nothing, since a slow reader is silent too. So the broker is asked for the end offsets, at the start and then
 * all the time: a partition that is read to the end it had at some moment is read up to that moment, and a backlog ends without
 * another record. Until it is read to the end it had at the start, a partition's clock stays slack behind; this takes back the
 * slack by which {@link Detection} decides early, so a backlog is decided exactly.
 *
 * <p>Only what is committed is read, so the end is the last stable offset, where the oldest open transaction begins. The clock
 * goes on behind it, or whoever leaves a transaction open would stop all detection; what it commits later is read late.
 *
 * <p>A subtask without a partition, with more tasks than partitions, is idle: it would hold the clock back for ever. But only once
 * {@link Settling} says that all partitions are assigned, or the clock could run ahead of one that is on its way.
 */
@SuppressWarnings("serial")
final class CaughtUp<S> implements Source<Event, KafkaPartitionSplit, S> {
  private static final long ASK_EVERY_MS = 100, STALLED_MS = 1000;
  private static final int TOPICS_EVERY = 10; // turns of asking
  private static final Duration READ_AHEAD = Duration.ofMinutes(30); // bounds what waits in the state, and how fast time runs
  private final Source<Event, KafkaPartitionSplit, S> source;
  private final Properties client = new Properties();
  private final Reader.Options options;
  private final long slack;
  private transient Reader reader;
  private transient Map<TopicPartition, Progress> partitions; // of this subtask
  private transient long number; // of no checkpoint

  CaughtUp(Source<Event, KafkaPartitionSplit, S> source, Properties consumer, Reader.Options options, long slack) {
    this.source = source;
    this.options = options;
    this.slack = slack;
    client.putAll(consumer);
    client.putAll(Map.of("max.partition.fetch.bytes", "65536", "fetch.min.bytes", "1", "default.api.timeout.ms", "5000",
        "request.timeout.ms", "5000", "auto.offset.reset", "earliest")); // what it looks at may be gone; the reader finds that out by itself
  }

  @Override public SourceReader<Event, KafkaPartitionSplit> createReader(SourceReaderContext context) throws Exception {
    Thread task = Thread.currentThread(), asking = new Thread(() -> ask(task), "end-offsets");
    partitions = new ConcurrentHashMap<>();
    number = Long.MIN_VALUE;
    reader = new Reader(source.createReader(context), options);
    asking.setDaemon(true);
    asking.start();
    return reader;
  }

  /** The watermarks; they belong to this very object as the source. */
  WatermarkStrategy<Event> watermarks() {
    return WatermarkStrategy.<Event>forGenerator(context -> new Generator())
        .withWatermarkAlignment("input", READ_AHEAD, Duration.ofSeconds(1));
  }

  /** How far one partition is read. The task's thread writes the first two, the thread that asks the others. */
  private static final class Progress {
    volatile long position, newest = Long.MIN_VALUE; // the next offset to read; the publish time of the last record read
    volatile long upTo = Long.MIN_VALUE; // a moment whose end is reached; none before that of the start
    long asked, end = -1; // the end at the moment of asking
    long seen = -1, visible; // the position at the last look; from there to this offset lie only markers and aborted records

    boolean reached() { return Math.max(position, visible) >= end; }

    long clock(long slack) {
      if (upTo > Long.MIN_VALUE) return Math.max(newest, upTo - slack / 5 + 1) - 1; // the broker's clock may be a little behind
      return newest == Long.MIN_VALUE ? newest : newest - 1 - slack;
    }
  }

  /** Flink makes one for each partition as it is assigned, which it knows from its first record on, and one for all. */
  private final class Generator implements WatermarkGenerator<Event> {
    private Progress mine;

    @Override public void onEvent(Event event, long timestamp, WatermarkOutput output) {
      if (mine == null) mine = progress(new TopicPartition(event.text(), event.partition()));
      mine.newest = Math.max(mine.newest, event.published());
      mine.position = event.offset() + 1;
    }

    @Override public void onPeriodicEmit(WatermarkOutput output) {
      if (mine == null) look();
      Collection<Progress> all = mine != null ? List.of(mine) : partitions.values();
      long clock = all.stream().mapToLong(progress -> progress.clock(slack)).min().orElse(Long.MIN_VALUE);
      if (clock > Long.MIN_VALUE) output.emitWatermark(new Watermark(clock));
      else if (all.isEmpty() && reader.settled()) output.markIdle();
    }
  }

  private void look() {
    List<KafkaPartitionSplit> splits = reader.snapshotState(number);
    if (splits.isEmpty()) number++; // none is assigned yet, and under a number that gave nothing the reader can note no offset
    for (KafkaPartitionSplit split : splits) { // with the next offset to read; negative: from the beginning
      progress(split.getTopicPartition()).position = split.getStartingOffset();
    }
  }

  private Progress progress(TopicPartition partition) { return partitions.computeIfAbsent(partition, key -> new Progress()); }

  private void ask(Thread task) {
    while (task.isAlive()) {
      try (var consumer = new KafkaConsumer<>(client, new ByteArrayDeserializer(), new ByteArrayDeserializer());
          var admin = Admin.create(client)) {
        for (long turn = 0; task.isAlive(); turn++, Thread.sleep(ASK_EVERY_MS)) {
          ask(consumer);
          if (turn % TOPICS_EVERY == 0) ask(admin);
        }
      } catch (RuntimeException | InterruptedException e) { // whatever it is: without this thread the clock stands still
        LoggerFactory.getLogger(CaughtUp.class).warn("the end offsets are not known, asking again", e);
        LockSupport.parkNanos(Duration.ofMillis(ASK_EVERY_MS).toNanos());
      }
    }
  }

  private void ask(Admin admin) throws InterruptedException {
    Set<String> topics = new HashSet<>();
    for (TopicPartition partition : partitions.keySet()) topics.add(partition.topic());
    for (var asked : admin.describeTopics(topics).topicNameValues().entrySet()) {
      try {
        reader.topic(asked.getKey(), asked.getValue().get().topicId());
      } catch (ExecutionException e) { // it is deleted, or nobody answers
        LoggerFactory.getLogger(CaughtUp.class).debug("topic {} is not described", asked.getKey(), e);
      }
    }
  }

  private void ask(Consumer<?, ?> consumer) {
    long now = System.currentTimeMillis();
    Set<TopicPartition> again = new HashSet<>();
    partitions.forEach((partition, progress) -> {
      if (!progress.reached() && progress.position == progress.seen && progress.asked + STALLED_MS < now) {
        skip(consumer, partition, progress);
      }
      progress.seen = progress.position;
      if (!progress.reached()) return;
      if (progress.end >= 0) progress.upTo = progress.asked;
      again.add(partition);
    });
    consumer.endOffsets(again).forEach((partition, end) -> {
      partitions.get(partition).asked = now;
      partitions.get(partition).end = end;
    });
  }

  /** Looks whether a record lies between the position and the end, for a little while: a look passes over a few batches. */
  private void skip(Consumer<?, ?> consumer, TopicPartition partition, Progress progress) {
    consumer.assign(List.of(partition));
    consumer.seek(partition, Math.max(0, Math.max(progress.position, progress.visible)));
    for (long end = System.currentTimeMillis() + ASK_EVERY_MS; !progress.reached() && System.currentTimeMillis() < end; ) {
      if (!consumer.poll(Duration.ofMillis(ASK_EVERY_MS)).isEmpty()) return;
      progress.visible = consumer.position(partition);
    }
  }

  @Override public Boundedness getBoundedness() { return source.getBoundedness(); }
  @Override public SimpleVersionedSerializer<KafkaPartitionSplit> getSplitSerializer() { return source.getSplitSerializer(); }
  @Override public SimpleVersionedSerializer<S> getEnumeratorCheckpointSerializer() {
    return source.getEnumeratorCheckpointSerializer();
  }

  @Override public SplitEnumerator<KafkaPartitionSplit, S> createEnumerator(SplitEnumeratorContext<KafkaPartitionSplit> context)
      throws Exception { return Settling.telling(context, false, source::createEnumerator); }

  @Override public SplitEnumerator<KafkaPartitionSplit, S> restoreEnumerator(
      SplitEnumeratorContext<KafkaPartitionSplit> context, S state) throws Exception {
    boolean known = state instanceof KafkaSourceEnumState before && before.initialDiscoveryFinished();
    return Settling.telling(context, known, telling -> source.restoreEnumerator(telling, state));
  }
}
