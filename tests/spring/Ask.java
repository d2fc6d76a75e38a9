import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.requestreply.ReplyingKafkaTemplate;
import org.springframework.kafka.requestreply.RequestReplyFuture;

/** Asks with Spring's ReplyingKafkaTemplate as it comes: one request a line (KEY, tab, JSON) on standard
 *  input, all sent before the first answer is awaited; one answer a line (error code or -, tab, JSON). */
public class Ask {
  public static void main(String[] args) {
    try {
      ask(args);
    } catch (Exception error) {
      error.printStackTrace();
      System.exit(1);
    }
    System.exit(0); // the template's own threads would keep the process for ever
  }

  static void ask(String[] args) throws Exception {
    String servers = args[0], requests = args[1], replies = args[2];
    Map<String, Object> sending = Map.of("bootstrap.servers", servers);
    Map<String, Object> reading = new HashMap<>(sending);
    reading.put("group.id", "spring-" + UUID.randomUUID());
    reading.put("auto.offset.reset", "latest");
    var producers =
        new DefaultKafkaProducerFactory<>(sending, new StringSerializer(), new StringSerializer());
    var consumers =
        new DefaultKafkaConsumerFactory<>(reading, new StringDeserializer(), new StringDeserializer());
    var container =
        new ConcurrentMessageListenerContainer<String, String>(consumers, new ContainerProperties(replies));
    var template = new ReplyingKafkaTemplate<String, String, String>(producers, container);
    template.setSharedReplyTopic(true);
    template.setDefaultReplyTimeout(Duration.ofSeconds(30));
    template.start();
    if (!template.waitForAssignment(Duration.ofSeconds(30))) {
      throw new IllegalStateException("no partitions of " + replies + " were assigned");
    }
    List<RequestReplyFuture<String, String, String>> waiting = new ArrayList<>();
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] parts = line.split("\t", 2);
      waiting.add(template.sendAndReceive(new ProducerRecord<>(requests, parts[0], parts[1])));
    }
    for (var future : waiting) {
      ConsumerRecord<String, String> reply = future.get(60, TimeUnit.SECONDS);
      var error = reply.headers().lastHeader("x-error");
      String code = error == null ? "-" : new String(error.value(), StandardCharsets.UTF_8);
      System.out.println(code + "\t" + reply.value());
    }
    template.stop();
    producers.destroy();
  }
}
