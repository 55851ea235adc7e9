use edgepack_harness::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let shapes = a.get(5).map(|s| { let (n,d)=s.split_once('=').unwrap(); vec![(n.to_string(), d.split(',').map(|x|x.parse().unwrap()).collect::<Vec<usize>>())]}).unwrap_or_default();
    let t=std::time::Instant::now();
    let mut m = edgepack_packager::import::import(a[1].as_ref(), &shapes).unwrap();
    println!("import {:?} nodes {}", t.elapsed(), m.graph.nodes.len());
    let before = m.graph.clone();
    edgepack_packager::passes::run(&mut m.graph);
    println!("after passes {}", m.graph.nodes.len());
    let spec = InputSpec{name:m.shapes[0].0.clone(), dims:m.shapes[0].1.clone()};
    let pre = Preprocessing{ mean: vec![a[3].parse().unwrap()], std: vec![a[4].parse().unwrap()], crop: if a[2].ends_with("npz"){None}else{Some([224,224])}, ..Default::default()};
    let data = DataSet::open(a[2].as_ref(), &spec, &pre, Some(4)).unwrap();
    let mut base = baseline::open(a[1].as_ref(), std::slice::from_ref(&spec), 1).unwrap();
    println!("{} {}", base.engine(), base.why());
    for s in data.iter() {
        let s = s.unwrap();
        let r = base.run(&s.values).unwrap();
        let t=std::time::Instant::now();
        let o0 = edgepack_packager::evaluate::evaluate(&before, &[&s.values], |_,_|{});
        let t0=t.elapsed();
        let o = edgepack_packager::evaluate::evaluate(&m.graph, &[&s.values], |_,_|{});
        let d = |o:&Vec<Vec<f32>>| r[0].iter().zip(&o[0]).map(|(a,b)|(a-b).abs()).fold(0.0f32,f32::max);
        println!("{:?} maxdiff before {} after {} (n {})", t0, d(&o0), d(&o), r[0].len());
    }
    for n in &m.graph.nodes { println!("{} {} {:?}", n.name, n.onnx_op, m.graph.dims(n.output)); }
}
