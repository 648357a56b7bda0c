package io.fraudctl.flink;

import java.lang.reflect.Field;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.graph.StreamGraph;
import org.apache.flink.streaming.api.graph.StreamNode;
import org.apache.flink.streaming.runtime.operators.sink.SinkWriterOperatorFactory;
import org.apache.flink.util.ParameterTool;

/** Wires the application as Managed Flink does, without running it; prints what it configures and its operators' uids. */
public final class JobMain {
  public static void main(String[] arguments) throws Exception {
    Map<String, String> properties = new HashMap<>();
    for (String pair : arguments) properties.put(pair.split("=", 2)[0], pair.split("=", 2)[1]);
    StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(new Configuration());
    Map<String, String> before = new TreeMap<>(((Configuration) env.getConfiguration()).toMap());
    Main.wire(env, ParameterTool.fromMap(properties));
    Map<String, String> after = new TreeMap<>(((Configuration) env.getConfiguration()).toMap());
    after.entrySet().removeAll(before.entrySet());
    after.keySet().forEach(key -> System.out.println("key " + key));
    StreamGraph graph = env.getStreamGraph();
    for (StreamNode node : graph.getStreamNodes()) {
      System.out.println("uid " + String.valueOf(node.getTransformationUID()).replace(' ', '_'));
      if (node.getOperatorFactory() instanceof SinkWriterOperatorFactory<?, ?> sink) {
        Field guarantee = KafkaSink.class.getDeclaredField("deliveryGuarantee");
        guarantee.setAccessible(true);
        System.out.println("guarantee " + guarantee.get(sink.getSink()));
      }
    }
  }
}
