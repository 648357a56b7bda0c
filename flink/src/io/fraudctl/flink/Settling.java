package io.fraudctl.flink;

import java.lang.reflect.*;
import org.apache.flink.api.connector.source.*;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;

/**
 * Lets the readers know when every partition that is known has been assigned.
 *
 * <p>Kafka's enumerator assigns what it knows as soon as it knows it, and to a reader that comes later when it comes; it says
 * nothing to one that gets nothing. An event that follows an assignment arrives after it, so a reader that has no partition by
 * then gets none, unless the topic gets more. Restored readers bring their partitions along.
 */
final class Settling {
  private Settling() {}

  /** What the readers are told. */
  static final class Settled implements SourceEvent {
    private static final long serialVersionUID = 1;
  }

  /** What makes the enumerator. */
  interface Making<S> {
    SplitEnumerator<KafkaPartitionSplit, S> in(SplitEnumeratorContext<KafkaPartitionSplit> context) throws Exception;
  }

  /** The enumerator, telling the readers; `known`: it is restored, with all partitions assigned. One thread calls it. */
  static <S> SplitEnumerator<KafkaPartitionSplit, S> telling(SplitEnumeratorContext<KafkaPartitionSplit> context,
      boolean known, Making<S> making) throws Exception {
    boolean[] all = {known};
    Runnable tell = () -> {
      if (all[0]) context.registeredReaders().keySet().forEach(to -> context.sendEventToSourceReader(to, new Settled()));
    };
    @SuppressWarnings("unchecked")
    SplitEnumeratorContext<KafkaPartitionSplit> seen = after(SplitEnumeratorContext.class, context, "assignSplits", () -> {
      all[0] = true;
      tell.run();
    });
    @SuppressWarnings("unchecked")
    SplitEnumerator<KafkaPartitionSplit, S> made = after(SplitEnumerator.class, making.in(seen), "addReader", tell);
    return made;
  }

  /** The same object, with something done after one of its methods. */
  private static <T> T after(Class<T> type, T object, String method, Runnable then) {
    return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (proxy, called, arguments) -> {
      try {
        Object result = called.invoke(object, arguments);
        if (called.getName().equals(method)) then.run();
        return result;
      } catch (InvocationTargetException e) {
        throw e.getCause();
      }
    }));
  }
}
